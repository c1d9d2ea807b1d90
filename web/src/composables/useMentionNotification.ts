/** Tells on the desktop when I am mentioned while the page is out of sight: once, however many tabs I have. */
import { inOneLine } from '../files.ts'
import type { Message } from '../protocol/frames.ts'
import { t } from '../words/index.ts'
import { notify } from './settings.ts'
import { useHidden } from './useHidden.ts'

const TOLD_KEY = 'parlor.told'
/** How many mentions are remembered as told. All tabs hear of one at about the same time. */
const REMEMBERED = 20

/** Makes what is to be called with each message in which I am mentioned. `open` is for who wants to read it. */
export function useMentionNotification(open: (room: string) => void): (room: string, message: Message) => void {
  const hidden = useHidden()
  return (room, message) => {
    if (!hidden.value || notify.value === 'off' || !('Notification' in window) || Notification.permission !== 'granted') return
    void navigator.locks.request(TOLD_KEY, () => {
      const told = localStorage.getItem(TOLD_KEY)?.split(' ') ?? []
      if (told.includes(message.id)) return
      localStorage.setItem(TOLD_KEY, [...told, message.id].slice(-REMEMBERED).join(' '))
      const notification = new Notification(t('mentionedYou', message.member.name, room), { body: inOneLine(message), tag: message.id })
      notification.onclick = () => {
        window.focus()
        open(room)
        notification.close()
      }
    })
  }
}

/** Asks for the permission, which the browser gives only after a click. Whether it is given. */
export async function mayNotify(): Promise<boolean> {
  return 'Notification' in window && (await Notification.requestPermission()) === 'granted'
}
