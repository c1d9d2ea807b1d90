/** The list of my rooms: what the server told of them, and of those where I am what I heard since. */
import type { RoomSummary } from './protocol/frames.ts'
import type { RoomEntry } from './rooms.ts'
import type { RoomState } from './timeline.ts'
import { unreadOf } from './unread.ts'

/** As far as the server counts. */
const MANY = 100

/** By name, so that a room stays where it is while people talk. */
export function listed(summaries: readonly RoomSummary[], states: Iterable<RoomState>): RoomEntry[] {
  const entries = new Map<string, RoomEntry>(summaries.map(({ room, unread, mentions }) => [room, { room, unread, mentions }]))
  for (const state of states) {
    if (!state.joined) continue
    const { room } = state
    const counted = unreadOf(state)
    const told = entries.get(room)
    // What I have not loaded, the server has counted.
    const whole = state.from <= state.seen + 1 || !told
    entries.set(room, {
      room,
      unread: Math.min(MANY, whole ? counted.unread : Math.max(counted.unread, told.unread)),
      mentions: whole ? counted.mentions : Math.max(counted.mentions, told.mentions),
    })
  }
  return [...entries.values()].sort((one, other) => (one.room < other.room ? -1 : 1))
}
