/**
 * What the timeline draws, derived from the room's state: messages grouped by author, days told apart, what is on its
 * way at the end.
 */
import type { Notice } from './notices.ts'
import { hasOlder, type Pending, type RoomState } from './timeline.ts'
import type { Member, Message } from './protocol/frames.ts'

export type Row =
  | { kind: 'day'; key: string; day: Date }
  | { kind: 'message'; key: string; message: Message; mine: boolean; startsGroup: boolean }
  | { kind: 'notice'; key: string; notice: Notice }
  | { kind: 'pending'; key: string; pending: Pending; startsGroup: boolean }

/** Within this time an author's messages share one header. */
const GROUP_MS = 5 * 60_000

export function toRows(state: RoomState, me: Member | undefined, notices: readonly Notice[] = []): Row[] {
  const rows: Row[] = []
  let nextNotice = notices.findIndex((notice) => notice.after >= (state.messages[0]?.seq ?? 1) - 1)
  /** Draws what happened before the message with this number. */
  const noticesBefore = (seq: number) => {
    for (; nextNotice >= 0 && nextNotice < notices.length && notices[nextNotice]!.after < seq; nextNotice++) {
      const notice = notices[nextNotice]!
      rows.push({ kind: 'notice', key: `notice-${notice.after}`, notice })
    }
  }
  let before: Message | undefined
  for (const message of state.messages) {
    noticesBefore(message.seq)
    const at = new Date(message.sentAt)
    const newDay = !before || at.toDateString() !== new Date(before.sentAt).toDateString()
    // The oldest loaded message is drawn with a header even if older ones are to come: it may get a day then.
    if (newDay) rows.push({ kind: 'day', key: `day-${at.toDateString()}`, day: at })
    const startsGroup = newDay || !before || rows.at(-1)?.kind === 'notice' || !sameGroup(before, message)
    const mine = message.member.id === me?.id
    rows.push({ kind: 'message', key: mine ? `mine-${message.clientId}` : `${message.epoch}-${message.seq}`, message, mine, startsGroup })
    before = message
  }
  noticesBefore(Infinity)
  let mineBefore = before?.member.id === me?.id
  for (const pending of state.pending) {
    rows.push({ kind: 'pending', key: `mine-${pending.clientId}`, pending, startsGroup: !mineBefore })
    mineBefore = true
  }
  return rows
}

export function isAtBeginning(state: RoomState): boolean {
  return state.joined && !hasOlder(state)
}

function sameGroup(before: Message, message: Message): boolean {
  const apart = Date.parse(message.sentAt) - Date.parse(before.sentAt)
  return before.member.id === message.member.id && apart < GROUP_MS
}
