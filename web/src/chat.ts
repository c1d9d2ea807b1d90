/**
 * The rooms of one reader over one connection: the one that is open, and the latest others, in which I am too so that
 * what is unread in them is known. Joins the timeline's reducer to the connection; knows neither the DOM nor Vue.
 *
 * What is said and changed goes out by `sending.ts`, history comes by `paging.ts`, who is writing is `typing.ts`'s.
 */
import { Paging } from './paging.ts'
import { Connection, type Env, type Status, type Voice } from './protocol/connection.ts'
import type { Ask, Body, Member, Message, RoomSummary, Welcome } from './protocol/frames.ts'
import { SIGNED_OUT } from './reasons.ts'
import { listed } from './roomList.ts'
import type { RoomEntry } from './rooms.ts'
import { RETRY_MS, Sending } from './sending.ts'
import { emptyRoom, position, reduce, type Action, type RoomState } from './timeline.ts'
import { Typing } from './typing.ts'
import { mentionsSince } from './unread.ts'

/** In how many rooms I am at once. Each costs a join whenever the connection comes back. */
const MOST_ROOMS = 20
/** The most members that one page brings; in a larger room the list is a part, and the count tells the rest. */
const ROSTER_PAGE = 200
/** How often at most it is said up to where I have read. */
const MARK_MS = 1000

export class Chat {
  me: Member | undefined
  status: Status = { at: 'connecting' }
  maxTextBytes = 8192
  maxAttachmentBytes = 0
  webBuild = ''
  /** The name of the open room. */
  open = ''
  readonly connection: Connection
  readonly sending: Sending
  readonly paging: Paging
  readonly typing: Typing
  private readonly env: Env
  private readonly changed: () => void
  private readonly mentioned: (room: string, message: Message) => void
  /** Those where I am or want to be, the one that was opened last at the end. */
  private readonly states = new Map<string, RoomState>()
  private summaries: RoomSummary[] = []
  private readonly joining = new Set<string>()
  private readingRoster = false
  private marking = false

  /** `changed` is called whenever something may look different, `mentioned` with what is said to me from now on. */
  constructor(env: Env, changed: () => void, mentioned: (room: string, message: Message) => void = () => {}) {
    this.env = env
    this.changed = changed
    this.mentioned = mentioned
    this.connection = new Connection(env, {
      status: (status) => this.heardStatus(status),
      welcome: (welcome, session) => this.welcome(welcome, session),
      event: (body) => this.event(body),
    })
    const { act, ask, pause } = this
    this.sending = new Sending({
      act,
      ask,
      pause,
      states: () => this.states.values(),
      connected: () => this.status.at === 'open',
      now: () => env.now(),
    })
    this.paging = new Paging({ act, ask, changed, state: () => this.state })
    this.typing = new Typing(env, changed)
  }

  /** The open room. */
  get state(): RoomState {
    return this.states.get(this.open) ?? emptyRoom(this.open)
  }

  get rooms(): RoomEntry[] {
    return listed(this.summaries, this.states.values())
  }

  openRoom(room: string) {
    if (room === this.open) return
    this.mark()
    this.act(this.open, { type: 'sit', seat: 'aside' })
    this.act(this.open, { type: 'lookAway' })
    this.typing.clear()
    this.open = room
    const state = this.states.get(room) ?? { ...emptyRoom(room), me: this.me?.id ?? '' }
    this.states.delete(room)
    this.states.set(room, state)
    this.act(room, { type: 'sit', seat: 'older' })
    if (!state.joined || this.connection.way === 'http') void this.joinNow(room)
    else void this.checkRoster()
    this.dropOldest()
  }

  /** Joins the open room, from which I was kept. */
  rejoin = () => this.joinNow(this.open)

  /** Says that I am writing. */
  tellTyping() {
    if (this.status.at !== 'open' || this.connection.way === 'http') return
    this.typing.tell(() => void this.ask({ typing: { room: this.open } }))
  }

  /** Where I look in the open room. */
  sit(seat: 'end' | 'older') {
    this.act(this.open, { type: 'sit', seat })
  }

  lookAway() {
    this.act(this.open, { type: 'lookAway' })
    this.sit('older')
  }

  readonly ask = (ask: Ask): Promise<Body> => this.connection.ask(ask)

  readonly act = (room: string, action: Action) => {
    const before = this.states.get(room)
    if (!before) return
    const state = reduce(before, action)
    if (state === before) return
    this.states.set(room, state)
    this.changed()
    for (const message of mentionsSince(before, state)) this.mentioned(room, message)
    if (state.hole) void this.joinNow(room)
    if (room !== this.open) return
    if (action.type === 'presence') void this.checkRoster()
    if (state.seen > state.read) this.markLater()
  }

  private heardStatus(status: Status) {
    this.status = status
    this.changed()
    if (status.at !== 'open') return
    void this.sending.run()
    void this.readRooms()
  }

  private async welcome(welcome: Welcome, session: Voice): Promise<boolean> {
    this.me = welcome.member
    this.maxTextBytes = welcome.maxTextBytes
    this.maxAttachmentBytes = welcome.maxAttachmentBytes
    this.webBuild = welcome.webBuild
    for (const room of this.states.keys()) this.act(room, welcome)
    const done = new Set<string>()
    // Another one may have been opened meanwhile.
    for (let room = this.open; room && !done.has(room); room = this.open) {
      done.add(room)
      if (!(await this.join(session, room))) return false
    }
    if (session.way === 'http') return true
    const others = Promise.all([...this.states.keys()].filter((room) => !done.has(room)).map((room) => this.join(session, room)))
    // As long as the older session hears them there is no hurry, and leaving it before would be noise.
    if (this.status.at === 'open') await others
    return true
  }

  private event(body: Body) {
    if (body.type === 'left') return this.act(body.room, { type: 'removed', room: body.room, reason: SIGNED_OUT })
    if (body.type === 'heartbeat') for (const room of this.states.keys()) this.act(room, body)
    if (!('room' in body)) return
    this.act(body.room, body)
    if (body.room === this.open) this.typing.hear(body, this.me?.id ?? '')
  }

  /** The one way back: what came after the last message that I heard, or the newest page. Whether the session is good. */
  private async join(session: Voice, room: string): Promise<boolean> {
    while (!session.over) {
      const state = this.states.get(room)
      if (!state) return true
      const since = position(state)
      const reply = await session.ask({ join: since ? { room, since } : { room } })
      if (reply.type === 'joined') {
        this.act(room, reply)
        void this.sending.run()
        return true
      }
      if (reply.type === 'error' && !reply.retryable && reply.code !== 'UNAUTHENTICATED') {
        // The session is good for another try, when I ask for it.
        this.act(room, { type: 'removed', room, reason: reply.message })
        return true
      }
      if (reply.type !== 'error' || !reply.retryable) return false
      await this.pause(reply.retryAfterMs)
    }
    return false
  }

  private async joinNow(room: string) {
    if (this.joining.has(room)) return
    this.joining.add(room)
    await this.join(this.connection, room)
    this.joining.delete(room)
  }

  /** Learns which rooms are mine, and is in the latest of them. */
  private async readRooms() {
    const reply = await this.ask({ rooms: {} })
    if (reply.type !== 'rooms') return
    this.summaries = reply.rooms
    this.changed()
    if (this.connection.way === 'http') return
    for (const { room } of reply.rooms) {
      if (this.states.size >= MOST_ROOMS) return
      if (this.states.has(room)) continue
      // Before the one that was opened last, which is the last to go.
      const open = this.states.get(this.open)
      this.states.delete(this.open)
      this.states.set(room, { ...emptyRoom(room), me: this.me?.id ?? '' })
      if (open) this.states.set(this.open, open)
      void this.joinNow(room)
    }
  }

  /** Leaves the room that was opened longest ago and in which nothing of mine waits to be sent. It stays in the list. */
  private dropOldest() {
    if (this.states.size <= MOST_ROOMS) return
    const oldest = [...this.states.values()].find(({ room, pending }) => room !== this.open && !pending.length)?.room
    if (oldest === undefined) return
    const told = this.rooms.find(({ room }) => room === oldest)
    const { epoch, head, read, memberCount } = this.states.get(oldest)!
    this.states.delete(oldest)
    this.summaries = this.summaries.filter(({ room }) => room !== oldest)
    if (told) this.summaries = [...this.summaries, { ...told, epoch, head, read, memberCount }]
    void this.ask({ leave: { room: oldest } })
  }

  /** Who left while the gateway was out of touch for long shows only in the count. */
  private async checkRoster() {
    const { room, members, memberCount } = this.state
    if (this.readingRoster || members.size === memberCount || memberCount > ROSTER_PAGE) return
    this.readingRoster = true
    const reply = await this.ask({ members: { room, limit: ROSTER_PAGE } })
    if (reply.type === 'members') this.act(room, reply)
    this.readingRoster = false
  }

  private markLater() {
    if (this.marking) return
    this.marking = true
    this.env.after(MARK_MS, () => {
      this.marking = false
      this.mark()
    })
  }

  /** Says up to where I have read the open room. */
  private mark() {
    const { room, joined, seen, read } = this.state
    if (!joined || seen <= read || this.status.at !== 'open') return
    void this.ask({ read: { room, seq: seen } }).then((reply) => {
      if (reply.type === 'read') this.act(room, reply)
    })
  }

  private readonly pause = (ms: number): Promise<void> => new Promise((resolve) => this.env.after(Math.max(ms, RETRY_MS), resolve))
}
