/** Tells on the desktop when I am mentioned while the page is out of sight: once, however many tabs I have. */
import { watch } from 'vue'
import type { Member, Message } from '../protocol/frames.ts'
import type { RoomState } from '../timeline.ts'
import { t } from '../words/index.ts'
import { notify } from './settings.ts'
import { useHidden } from './useHidden.ts'

const TOLD_KEY = 'parlor.told'
/** How many mentions are remembered as told. All tabs hear of one at about the same time. */
const REMEMBERED = 20

export function useMentionNotification(state: () => RoomState, me: () => Member | undefined, open: (room: string) => void) {
  const hidden = useHidden()
  watch(state, (now, before) => {
    if (!hidden.value || notify.value === 'off' || now.room !== before.room || !before.joined) return
    for (const message of now.messages.slice(-REMEMBERED)) {
      if (message.seq > before.head && mentions(message, me())) void tell(now.room, message, open)
    }
  })
}

function mentions(message: Message, me: Member | undefined): boolean {
  return !!me && message.member.id !== me.id && message.mentions.includes(me.id)
}

/** Asks for the permission, which the browser gives only after a click. Whether it is given. */
export async function mayNotify(): Promise<boolean> {
  return 'Notification' in window && (await Notification.requestPermission()) === 'granted'
}

async function tell(room: string, message: Message, open: (room: string) => void) {
  if (!('Notification' in window) || Notification.permission !== 'granted') return
  await navigator.locks.request(TOLD_KEY, () => {
    const told = localStorage.getItem(TOLD_KEY)?.split(' ') ?? []
    if (told.includes(message.id)) return
    localStorage.setItem(TOLD_KEY, [...told, message.id].slice(-REMEMBERED).join(' '))
    const notification = new Notification(t('mentionedYou', message.member.name, room), { body: message.text, tag: message.id })
    notification.onclick = () => {
      window.focus()
      open(room)
      notification.close()
    }
  })
}
