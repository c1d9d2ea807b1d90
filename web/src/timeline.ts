/**
 * One room as its reader sees it: what was said, what is on its way, who is there. A reducer without a clock, a
 * socket or Vue. Rows for the screen are derived by `rows.ts`; what a change does to a message is `changes.ts`'s.
 *
 * What is loaded is one piece of the room without holes, from `from` to `to`. Mostly it reaches to the newest message;
 * it does not while someone reads far above, whom new messages must not move. **Invariant:** no room holds more than
 * `MOST` messages.
 */
import { amend, isSaid } from './changes.ts'
import type { Attachment, Body, Joined, Member, Message, MessageRef, Position } from './protocol/frames.ts'

/** The most messages that the open room holds, and one that is not looked at. */
export const MOST = 5000
export const MOST_ASIDE = 200

/** What goes with a text. */
export interface Extras {
  replyTo?: MessageRef | undefined
  mentions?: string[]
  /** Uploaded before. */
  attachments?: Attachment[]
}

/** Something I said that is not confirmed yet. */
export interface Pending extends Extras {
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

/** Where I am: I see the newest message, or look at older ones or away, or at another room. */
export type Seat = 'end' | 'older' | 'aside'

export interface RoomState {
  room: string
  epoch: string
  /** My member id, once I know it. */
  me: string
  /** The number of what was heard last, a message or a change; 0 before the first. */
  head: number
  /** What was heard last, which proves how far I have heard. */
  last: Position | undefined
  /** What was said, oldest first, changes folded in: all of it from the number `from` to the number `to`. */
  messages: Message[]
  from: number
  to: number
  /** Nothing older is kept. */
  complete: boolean
  /** How often it was started afresh. A page that was asked for before is of no use. */
  run: number
  /** Changes that were heard lately. A page that was read before them may come after them. */
  changes: Message[]
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
  seat: Seat
  /** Up to where I have read, as the server knows it. */
  read: number
  /** Up to where I have read. */
  seen: number
  /** The first message that I had not read when I came back: a line is drawn before it. 0: none. */
  line: number
}

/** A page of history, with what was asked for. */
export interface Page {
  type: 'page'
  run: number
  epoch: string
  before: number
  limit: number
  messages: Message[]
}

export type Action =
  | Body
  | Page
  | { type: 'kept'; clientId: string; seq: number }
  | ({ type: 'compose'; clientId: string; text: string; at: string } & Extras)
  | { type: 'fail'; clientId: string; reason: string; canRetry: boolean }
  | { type: 'retry'; clientId: string }
  | { type: 'discard'; clientId: string }
  | { type: 'sit'; seat: Seat }
  | { type: 'lookAway' }

export function emptyRoom(room: string): RoomState {
  return {
    room,
    epoch: '',
    me: '',
    head: 0,
    last: undefined,
    messages: [],
    from: 1,
    to: 0,
    complete: false,
    run: 0,
    changes: [],
    pending: [],
    members: new Map(),
    memberCount: 0,
    joined: false,
    hole: false,
    lost: false,
    removed: '',
    seat: 'aside',
    read: 0,
    seen: 0,
    line: 0,
  }
}

/** What was heard last, for a join that comes back; nothing before the first. */
export function position(state: RoomState): Position | undefined {
  return state.joined ? state.last : undefined
}

/** Whether older messages may be kept. */
export function hasOlder(state: RoomState): boolean {
  return state.joined && state.from > 1 && !state.complete
}

/** Whether newer messages were left out, since I read far above. */
export function hasNewer(state: RoomState): boolean {
  return state.to < state.head
}

export function reduce(state: RoomState, action: Action): RoomState {
  if ('room' in action && action.room !== state.room) return state
  switch (action.type) {
    case 'welcome':
      return { ...state, me: action.member.id }
    case 'joined':
      return join(state, action)
    case 'message':
      return hear(state, action.message)
    case 'page':
      return addPage(state, action)
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
      return { ...emptyRoom(state.room), run: state.run + 1, me: state.me, seat: state.seat, removed: action.reason }
    case 'compose': {
      const { clientId, text, at, replyTo, mentions = [], attachments = [] } = action
      const pending: Pending = { clientId, text, at, replyTo, mentions, attachments, state: 'sending', seq: 0, reason: '', canRetry: true }
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
    case 'read':
      if (action.epoch !== state.epoch) return state
      return { ...state, read: Math.max(state.read, action.seq), seen: Math.max(state.seen, Math.min(action.seq, state.head)) }
    case 'sit':
      return sit(state, action.seat)
    case 'lookAway':
      return state.line > state.seen ? state : { ...state, line: 0 }
    case 'refreshed':
    case 'left':
    case 'sent':
    case 'history':
    case 'rooms':
    case 'typing':
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
  const lost = !joined.resumed && state.head > 0 && joined.epoch !== state.epoch
  const start = joined.resumed ? state : afresh(state, joined, lost)
  const fresh = joined.messages.filter((message) => message.seq > start.head)
  const read = Math.max(start.read, joined.read)
  const here: RoomState = {
    ...start,
    epoch: joined.epoch,
    joined: true,
    hole: false,
    removed: '',
    lost: state.lost || lost,
    read,
    seen: Math.max(start.seen, read),
    members: byId(joined.members),
    memberCount: joined.memberCount,
  }
  if (state.joined) return forgetHeard(grow(here, fresh))
  // Whoever comes in has not seen it yet. Who has never read anything here finds no place where they left it.
  const grown = grow({ ...here, seat: here.seat === 'end' ? 'older' : here.seat }, fresh)
  return forgetHeard(atEnd({ ...grown, seat: here.seat, line: here.seen > 0 ? grown.line : 0 }))
}

/** Forgets what is loaded, for the newest page. */
function afresh(state: RoomState, joined: Joined, lost: boolean): RoomState {
  const head = (joined.messages[0]?.seq ?? joined.head + 1) - 1
  const marks = lost ? { read: 0, seen: 0, line: 0 } : {}
  return { ...state, ...marks, head, last: undefined, messages: [], from: head + 1, to: head, complete: false, changes: [], run: state.run + 1 }
}

function hear(state: RoomState, message: Message): RoomState {
  // Another epoch with the next number: the numbering went on, verified by the server.
  if (message.seq === state.head + 1) return grow({ ...state, epoch: message.epoch }, [message])
  if (message.epoch === state.epoch && message.seq <= state.head) {
    const pending = withoutSaid(state.pending, [message])
    return pending === state.pending ? state : { ...state, pending }
  }
  return { ...state, hole: true }
}

/** Takes in what comes right after the head. */
function grow(state: RoomState, fresh: Message[]): RoomState {
  const last = fresh.at(-1)
  if (!last) return atEnd(state)
  const said = fresh.filter(isSaid)
  const changes = fresh.filter((message) => !isSaid(message))
  const fits = !hasNewer(state) && (state.seat !== 'older' || state.messages.length + said.length <= MOST)
  const first = said.find((message) => message.member.id !== state.me && message.seq > state.seen)
  const line = first && state.line <= state.seen && state.seat !== 'end' ? first.seq : state.line
  return atEnd(
    bounded({
      ...state,
      head: last.seq,
      last: { epoch: last.epoch, seq: last.seq, id: last.id },
      messages: amend(fits ? [...state.messages, ...said] : state.messages, changes),
      to: fits ? last.seq : state.to,
      changes: changes.length ? [...state.changes, ...changes].slice(-MOST) : state.changes,
      pending: withoutSaid(state.pending, said),
      line,
    }),
  )
}

/** Adds a page to the piece that is loaded, if it touches it; else it is the piece. */
function addPage(state: RoomState, page: Page): RoomState {
  if (page.run !== state.run) return state
  if (page.epoch !== state.epoch) return { ...state, hole: true }
  // What is newer than the head is yet to be heard.
  const known = page.messages.filter((message) => message.seq <= state.head)
  const complete = page.messages.length < page.limit
  const [oldest, newest] = [known[0]?.seq, known.at(-1)?.seq]
  if (oldest === undefined || newest === undefined) return complete && page.before === state.from ? { ...state, complete } : state
  const touches = oldest <= state.to + 1 && newest >= state.from - 1
  const whole = touches ? state : { ...state, messages: [], from: oldest, to: oldest - 1, complete: false }
  const older = known.filter((message) => message.seq < whole.from && isSaid(message))
  const newer = known.filter((message) => message.seq > whole.to && isSaid(message))
  const added: RoomState = {
    ...whole,
    messages: amend([...older, ...whole.messages, ...newer], state.changes),
    from: Math.min(whole.from, oldest),
    to: Math.max(whole.to, newest),
    complete: oldest <= whole.from ? complete : whole.complete,
  }
  return atEnd(bounded(hasNewer(added) && state.seat === 'end' ? { ...added, seat: 'older' } : added, older.length > 0))
}

/** Lets go of what is too much: of the oldest, or of the newest for who reads the oldest. */
function bounded(state: RoomState, readsOldest = false): RoomState {
  const most = state.seat === 'aside' ? MOST_ASIDE : MOST
  if (state.messages.length <= most) return state
  if (readsOldest) {
    const messages = state.messages.slice(0, most)
    return { ...state, messages, to: messages.at(-1)!.seq }
  }
  const messages = state.messages.slice(-most)
  return { ...state, messages, from: messages[0]!.seq, complete: false }
}

function sit(state: RoomState, seat: Seat): RoomState {
  if (seat === state.seat) return state
  const moved = { ...state, seat }
  if (seat !== 'aside') return atEnd(moved)
  // Whoever comes back comes to the newest.
  if (hasNewer(state)) return { ...moved, messages: [], from: state.head + 1, to: state.head, complete: false }
  return bounded(moved)
}

/** Who sees the newest message has read all. */
function atEnd(state: RoomState): RoomState {
  return state.seat === 'end' && !hasNewer(state) && state.seen < state.head ? { ...state, seen: state.head } : state
}

/** What is kept below the head is not on its way any more. */
function forgetHeard(state: RoomState): RoomState {
  const pending = state.pending.filter((row) => row.state !== 'kept' || row.seq > state.head)
  return pending.length === state.pending.length ? state : { ...state, pending }
}

function withoutSaid(pending: Pending[], said: Message[]): Pending[] {
  if (!pending.length) return pending
  const ids = new Set(said.map((message) => message.clientId))
  return pending.some((row) => ids.has(row.clientId)) ? pending.filter((row) => !ids.has(row.clientId)) : pending
}

function mark(state: RoomState, clientId: string, change: Partial<Pending>): RoomState {
  return { ...state, pending: state.pending.map((row) => (row.clientId === clientId ? { ...row, ...change } : row)) }
}

function byId(members: Member[]): ReadonlyMap<string, Member> {
  return new Map(members.map((member) => [member.id, member]))
}
