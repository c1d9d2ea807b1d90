/**
 * What the timeline draws, derived from the room's state: messages grouped by author, days told apart, what is on its
 * way at the end.
 */
import { hasOlder, type Pending, type RoomState } from './timeline.ts'
import type { Member, Message } from './protocol/frames.ts'

export type Row =
  | { kind: 'day'; key: string; day: Date }
  | { kind: 'message'; key: string; message: Message; mine: boolean; startsGroup: boolean }
  | { kind: 'pending'; key: string; pending: Pending; startsGroup: boolean }

/** Within this time an author's messages share one header. */
const GROUP_MS = 5 * 60_000

export function toRows(state: RoomState, me: Member | undefined): Row[] {
  const rows: Row[] = []
  let before: Message | undefined
  for (const message of state.messages) {
    // It has its number, and nothing to show: what it deletes says so.
    if (message.deletes) continue
    const at = new Date(message.sentAt)
    const newDay = !before || at.toDateString() !== new Date(before.sentAt).toDateString()
    // The oldest loaded message is drawn with a header even if older ones are to come: it may get a day then.
    if (newDay) rows.push({ kind: 'day', key: `day-${at.toDateString()}`, day: at })
    const startsGroup = newDay || !before || !sameGroup(before, message)
    const mine = message.member.id === me?.id
    rows.push({ kind: 'message', key: mine ? `mine-${message.clientId}` : `${message.epoch}-${message.seq}`, message, mine, startsGroup })
    before = message
  }
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
