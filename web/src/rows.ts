/**
 * What the timeline draws, derived from the room's state: messages grouped by author, days told apart, a line where the
 * new ones begin, what is on its way at the end.
 *
 * As long as older messages may come, the oldest one that is loaded is not drawn: nobody knows yet whether it begins a
 * day or a group, and to draw it otherwise later would move all that is below it.
 */
import type { Notice } from './notices.ts'
import { hasNewer, hasOlder, type Pending, type RoomState } from './timeline.ts'
import type { Member, Message } from './protocol/frames.ts'

export type Row =
  | { kind: 'day'; key: string; day: Date }
  | { kind: 'line'; key: string }
  | { kind: 'message'; key: string; message: Message; mine: boolean; startsGroup: boolean }
  | { kind: 'notice'; key: string; notice: Notice }
  | { kind: 'pending'; key: string; pending: Pending; startsGroup: boolean }

/** Within this time an author's messages share one header. */
const GROUP_MS = 5 * 60_000

export function toRows(state: RoomState, me: Member | undefined, notices: readonly Notice[] = []): Row[] {
  const rows: Row[] = []
  const context = hasOlder(state) ? state.messages[0] : undefined
  const first = context?.seq ?? state.from - 1
  let nextNotice = notices.findIndex((notice) => notice.after >= first)
  /** Draws what happened before the message with this number. */
  const noticesBefore = (seq: number) => {
    for (; nextNotice >= 0 && nextNotice < notices.length && notices[nextNotice]!.after < seq; nextNotice++) {
      const notice = notices[nextNotice]!
      rows.push({ kind: 'notice', key: `notice-${notice.after}`, notice })
    }
  }
  let before: Message | undefined
  let day = ''
  for (const message of state.messages) {
    const newDay = !before || message.sentAt.slice(0, 16) !== before.sentAt.slice(0, 16) ? dayOf(message) : day
    if (message !== context) {
      noticesBefore(message.seq)
      if (newDay !== day) rows.push({ kind: 'day', key: `day-${message.seq}`, day: new Date(message.sentAt) })
      const isFirstNew = state.line > 0 && message.seq >= state.line && (before?.seq ?? 0) < state.line
      if (isFirstNew) rows.push({ kind: 'line', key: 'line' })
      const last = rows.at(-1)
      const startsGroup = !before || (last !== undefined && last.kind !== 'message') || !sameGroup(before, message)
      const mine = message.member.id === me?.id
      rows.push({ kind: 'message', key: keyOf(message, mine), message, mine, startsGroup })
    }
    before = message
    day = newDay
  }
  if (!hasNewer(state)) noticesBefore(Infinity)
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

/** Where the message with this number is drawn. -1: nowhere. */
export function rowOf(rows: readonly Row[], seq: number): number {
  return rows.findIndex((row) => row.kind === 'message' && row.message.seq === seq)
}

/** What I said keeps its place when it is confirmed. */
function keyOf(message: Message, mine: boolean): string {
  return mine && message.clientId ? `mine-${message.clientId}` : `${message.epoch}-${message.seq}`
}

function dayOf(message: Message): string {
  return new Date(message.sentAt).toDateString()
}

function sameGroup(before: Message, message: Message): boolean {
  const apart = Date.parse(message.sentAt) - Date.parse(before.sentAt)
  return before.member.id === message.member.id && apart < GROUP_MS
}
