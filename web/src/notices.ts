/**
 * Who came and who went while I looked, as the timeline tells it: what happened between two messages is one notice.
 * Pure; `composables/useNotices.ts` keeps the list.
 */
import type { Member } from './protocol/frames.ts'

export interface Notice {
  /** The room's newest message then: the notice is drawn after it. */
  after: number
  joined: Member[]
  left: Member[]
}

/** How many notices a room keeps. Older ones tell nobody anything. */
const MOST = 100
/** In a larger room people come and go all the time, and only some of it is told. */
const LARGEST_ROOM = 200

type Roster = ReadonlyMap<string, Member>

/** The notices with what changed from one roster to the next. Who goes and comes back between two messages is not told. */
export function noted(notices: readonly Notice[], before: Roster, now: Roster, after: number): readonly Notice[] {
  if (before.size > LARGEST_ROOM || now.size > LARGEST_ROOM) return notices
  const joined = [...now.values()].filter((member) => !before.has(member.id))
  const left = [...before.values()].filter((member) => !now.has(member.id))
  if (!joined.length && !left.length) return notices
  const last = notices.at(-1)
  const open = last?.after === after ? last : { after, joined: [], left: [] }
  const merged = {
    after,
    joined: [...without(open.joined, left), ...without(joined, open.left)],
    left: [...without(open.left, joined), ...without(left, open.joined)],
  }
  const kept = last === open ? notices.slice(0, -1) : notices
  return merged.joined.length || merged.left.length ? [...kept, merged].slice(-MOST) : kept
}

function without(members: Member[], these: Member[]): Member[] {
  return members.filter((member) => !these.some((other) => other.id === member.id))
}
