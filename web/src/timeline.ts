/**
 * One room as its reader sees it: what was said, what is on its way, who is there. A reducer without a clock, a
 * socket or Vue. Rows for the screen are derived by `rows.ts`.
 */
import type { Body, Joined, Member, Message, Position } from './protocol/frames.ts'

/** Something I said that is not confirmed yet. */
export interface Pending {
  clientId: string
  text: string
  at: string
  /** `kept`: acknowledged, and still to be heard in its place. */
  state: 'sending' | 'kept' | 'failed'
  /** Its number, once it is kept. */
  seq: number
  reason: string
  canRetry: boolean
}

export interface RoomState {
  room: string
  epoch: string
  /** The newest message that was seen; 0 before the first. */
  head: number
  messages: Message[]
  pending: Pending[]
  members: ReadonlyMap<string, Member>
  memberCount: number
  joined: boolean
  /** A message is missing between the head and what was heard: ask for it. */
  hole: boolean
  /** The server lost what I had seen of the room, which began anew. */
  lost: boolean
  /** Why I may not be in the room, in words; empty if I may. */
  removed: string
}

export type Action =
  | Body
  | { type: 'kept'; clientId: string; seq: number }
  | { type: 'compose'; clientId: string; text: string; at: string }
  | { type: 'fail'; clientId: string; reason: string; canRetry: boolean }
  | { type: 'retry'; clientId: string }
  | { type: 'discard'; clientId: string }

export function emptyRoom(room: string): RoomState {
  return {
    room,
    epoch: '',
    head: 0,
    messages: [],
    pending: [],
    members: new Map(),
    memberCount: 0,
    joined: false,
    hole: false,
    lost: false,
    removed: '',
  }
}

/** The last message seen, for a join that comes back; nothing before the first. */
export function position(state: RoomState): Position | undefined {
  const last = state.messages.at(-1)
  return last && state.joined ? { epoch: state.epoch, seq: last.seq, id: last.id } : undefined
}

/** Whether older messages may be kept. */
export function hasOlder(state: RoomState): boolean {
  return (state.messages[0]?.seq ?? 1) > 1
}

export function reduce(state: RoomState, action: Action): RoomState {
  if ('room' in action && action.room !== state.room) return state
  switch (action.type) {
    case 'joined':
      return join(state, action)
    case 'message':
      return hear(state, action.message)
    case 'history':
      return { ...state, messages: bury([...older(state, action.messages), ...state.messages]) }
    case 'presence': {
      const members = new Map(state.members)
      for (const id of action.left) members.delete(id)
      for (const member of action.joined) members.set(member.id, member)
      return { ...state, members, memberCount: action.memberCount }
    }
    case 'heartbeat': {
      const head = action.heads.find((head) => head.room === state.room)
      if (!head) return state
      // A lower number in another epoch: the room began anew, and I was not told. With mine the numbers may just go on.
      const wentBack = head.epoch !== state.epoch && head.seq < state.head
      return head.seq > state.head || wentBack ? { ...state, hole: true } : state
    }
    case 'removed':
      // What was said there is not mine to read any more.
      return { ...emptyRoom(state.room), removed: action.reason }
    case 'compose': {
      const { clientId, text, at } = action
      const pending: Pending = { clientId, text, at, state: 'sending', seq: 0, reason: '', canRetry: true }
      return { ...state, pending: [...state.pending, pending] }
    }
    case 'fail':
      return mark(state, action.clientId, { state: 'failed', reason: action.reason, canRetry: action.canRetry })
    case 'retry':
      return mark(state, action.clientId, { state: 'sending', reason: '' })
    case 'discard':
      return { ...state, pending: state.pending.filter((row) => row.clientId !== action.clientId) }
    case 'members':
      return { ...state, members: byId(action.members), memberCount: action.memberCount }
    case 'kept':
      // It moves nothing: the message itself comes too, in its order, unless it is among those that I skipped.
      return forgetHeard(mark(state, action.clientId, { state: 'kept', seq: action.seq }))
    case 'welcome':
    case 'refreshed':
    case 'left':
    case 'sent':
    case 'move':
    case 'error':
    case 'unknown':
      return state
    default:
      action satisfies never
      return state
  }
}

function join(state: RoomState, joined: Joined): RoomState {
  const before = joined.resumed ? state.messages : []
  const last = before.at(-1)?.seq ?? 0
  const fresh = joined.messages.filter((message) => message.seq > last)
  return forgetHeard({
    ...state,
    epoch: joined.epoch,
    // While I move between gateways, the older one may have told me more already.
    head: Math.max(last, joined.head),
    messages: bury([...before, ...fresh]),
    pending: withoutSaid(state.pending, fresh),
    members: byId(joined.members),
    memberCount: joined.memberCount,
    joined: true,
    hole: false,
    removed: '',
    lost: state.lost || (!joined.resumed && state.head > 0 && joined.epoch !== state.epoch),
  })
}

/** What is kept below the head is not on its way any more. */
function forgetHeard(state: RoomState): RoomState {
  const pending = state.pending.filter((row) => row.state !== 'kept' || row.seq > state.head)
  return pending.length === state.pending.length ? state : { ...state, pending }
}

function hear(state: RoomState, message: Message): RoomState {
  const pending = withoutSaid(state.pending, [message])
  if (message.seq === state.head + 1) {
    // Another epoch with the next number: the numbering went on, verified by the server.
    const messages = [...state.messages, message]
    return { ...state, epoch: message.epoch, head: message.seq, messages: message.deletes ? bury(messages) : messages, pending }
  }
  if (message.epoch === state.epoch && message.seq <= state.head) {
    return pending.length === state.pending.length ? state : { ...state, pending }
  }
  return { ...state, hole: true }
}

/** What is deleted loses its text, even if it was read before its deletion and came after it. */
function bury(messages: Message[]): Message[] {
  const deleted = new Set(messages.filter((message) => message.deletes).map((message) => message.deletes))
  if (!deleted.size) return messages
  return messages.map((message) => (deleted.has(message.seq) ? { ...message, text: '', deleted: true } : message))
}

function older(state: RoomState, page: Message[]): Message[] {
  const oldest = state.messages[0]?.seq ?? Infinity
  return page.filter((message) => message.seq < oldest)
}

function withoutSaid(pending: Pending[], said: Message[]): Pending[] {
  const ids = new Set(said.map((message) => message.clientId))
  return pending.some((row) => ids.has(row.clientId)) ? pending.filter((row) => !ids.has(row.clientId)) : pending
}

function mark(state: RoomState, clientId: string, change: Partial<Pending>): RoomState {
  return { ...state, pending: state.pending.map((row) => (row.clientId === clientId ? { ...row, ...change } : row)) }
}

function byId(members: Member[]): ReadonlyMap<string, Member> {
  return new Map(members.map((member) => [member.id, member]))
}
