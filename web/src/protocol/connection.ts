/**
 * The connection to a gateway: dials, says hello, comes back with backoff, moves without a gap when a gateway drains.
 * Where no WebSocket comes through it goes by plain HTTP (`http.ts`), and looks now and then whether one does.
 *
 * Everything outside is injected (`Env`), so that tests run without a browser or a clock. What is said and heard in a
 * room is `composables/useChat.ts` and `timeline.ts`; a frame's shape is `frames.ts`.
 */
import { NO_ANSWER } from '../reasons.ts'
import { decode, encode, type Ask, type Body, type Failure, type Welcome } from './frames.ts'

export type Status =
  | { at: 'connecting' }
  | { at: 'open' }
  | { at: 'waiting'; until: number }
  | { at: 'offline' }
  | { at: 'closed'; reason: string }

export interface Socket {
  send(text: string): void
  close(code: number): void
  onopen: (() => void) | null
  onmessage: ((event: { data: unknown }) => void) | null
  onclose: ((event: { code: number; reason: string }) => void) | null
}

/** How frames travel. */
export type Way = 'websocket' | 'http'

export interface Env {
  open(way: Way): Socket
  now(): number
  random(): number
  online(): boolean
  after(ms: number, run: () => void): () => void
  token: { get(): string; set(token: string): void }
}

export interface Handlers {
  status(status: Status): void
  /** A session is welcome: join on it. Until this settles, an older session stays. False: the session is of no use. */
  welcome(welcome: Welcome, session: Voice): Promise<boolean>
  event(body: Body): void
}

/** What a session can be asked. */
export interface Voice {
  ask(ask: Ask): Promise<Body>
  /** No more answers come. */
  readonly over: boolean
  /** By HTTP one room is heard at a time. */
  readonly way: Way
}

/** Closes a connection that was lost, or that nobody needs any more, without saying goodbye for the member. */
const LOST = 3001
const GOODBYE = 1000
/** What a server closes with whom an operator removed. */
const REMOVED = 4502
/** The server knows nobody who vouches for me. */
const NO_SIGN_IN = 4501
const FIRST_BACKOFF_MS = 500
const LONGEST_BACKOFF_MS = 30_000
/** How long a reply may take before its frame counts as unanswered. */
const REPLY_MS = 10_000
/** How long a session may take to be welcome before another way is tried. */
const WELCOME_MS = 15_000
/** How long a session by HTTP lasts before it is looked whether a WebSocket comes through. */
const RETURN_MS = 5 * 60_000
/** How much of a token's time may pass before it is refreshed. */
const REFRESH_AT = 0.8
/** The least and the longest pause before that: not in a hurry near the end, and no longer than timers are good for. */
const REFRESH_PAUSE_MS = [5000, 86_400_000] as const
/** Heartbeats that may fail to come before the connection counts as dead. */
const SILENT_BEATS = 2.5
const UNANSWERED: Failure = {
  type: 'error',
  code: 'UNAVAILABLE',
  message: NO_ANSWER,
  retryable: true,
  retryAfterMs: 0,
}

/** Full jitter: anything from nothing to the cap, so that a thousand browsers do not come back at once. */
export function backoff(attempt: number, random: number): number {
  return random * Math.min(LONGEST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** attempt)
}

export function comesBack(code: number): boolean {
  return !(code === 1007 || code === 1009 || (code >= 4500 && code <= 4999))
}

/** One socket with a session on it. */
class Session implements Voice {
  readonly way: Way
  welcome = false
  private readonly socket: Socket
  private readonly env: Env
  private readonly onEvent: (body: Body) => void
  private lastId = 0
  private readonly waiting = new Map<number, (body: Body) => void>()
  private stopWatch = () => {}
  private stopRefresh = () => {}
  private silentAfterMs = WELCOME_MS
  over = false

  constructor(
    env: Env,
    way: Way,
    onOpen: () => void,
    onEvent: (body: Body) => void,
    onOver: (code: number, reason: string) => void,
  ) {
    this.env = env
    this.way = way
    this.onEvent = onEvent
    this.socket = env.open(way)
    this.socket.onopen = onOpen
    this.socket.onmessage = ({ data }) => this.hear(String(data))
    this.socket.onclose = ({ code, reason }) => this.end(code, reason, onOver)
    this.die = () => this.end(1006, '', onOver)
    this.refuse = (reason) => this.end(REMOVED, reason, onOver)
    this.watch()
  }

  /** The connection is dead, whatever the socket thinks. */
  readonly die: () => void

  /** The server does not let me in, for this reason. */
  readonly refuse: (reason: string) => void

  ask = (ask: Ask): Promise<Body> => {
    if (this.over) return Promise.resolve(UNANSWERED)
    const id = ++this.lastId
    return new Promise((resolve) => {
      const stop = this.env.after(REPLY_MS, () => this.answer(id, UNANSWERED))
      this.waiting.set(id, (body) => {
        stop()
        resolve(body)
      })
      this.socket.send(encode(id, ask))
    })
  }

  welcomed(seconds: number) {
    this.welcome = true
    this.silentAfterMs = seconds * 1000 * SILENT_BEATS
    this.watch()
  }

  /** Calls `refresh` when most of the time until then is over. */
  refreshBefore(expiresAt: string, refresh: () => void) {
    this.stopRefresh()
    const left = Date.parse(expiresAt) - this.env.now()
    const [least, most] = REFRESH_PAUSE_MS
    if (left > least) this.stopRefresh = this.env.after(Math.min(Math.max(left * REFRESH_AT, least), most), refresh)
  }

  close(code: number) {
    this.socket.close(code)
    this.end(code, '', () => {})
  }

  private hear(text: string) {
    if (this.over) return
    this.watch()
    const { id, body } = decode(text)
    if (id > 0) this.answer(id, body)
    else this.onEvent(body)
  }

  private answer(id: number, body: Body) {
    const resolve = this.waiting.get(id)
    this.waiting.delete(id)
    resolve?.(body)
  }

  private watch() {
    this.stopWatch()
    this.stopWatch = this.env.after(this.silentAfterMs, this.die)
  }

  private end(code: number, reason: string, onOver: (code: number, reason: string) => void) {
    if (this.over) return
    this.over = true
    this.stopWatch()
    this.stopRefresh()
    this.socket.onmessage = null
    for (const id of [...this.waiting.keys()]) this.answer(id, UNANSWERED)
    this.socket.close(LOST)
    onOver(code, reason)
  }
}

export class Connection implements Voice {
  private readonly env: Env
  private readonly handlers: Handlers
  private current: Session | undefined
  private next: Session | undefined
  private attempt = 0
  private cancelDial = () => {}
  private cancelReturn = () => {}
  private stopped = false
  /** How the next session goes, unless another way is looked for. */
  way: Way = 'websocket'
  private refreshNow = () => {}
  /** Who signed in is not to become a guest without a word. */
  private signedIn = false
  private wantsSignIn = false

  constructor(env: Env, handlers: Handlers) {
    this.env = env
    this.handlers = handlers
  }

  /** Connects, whatever ended the connection before. */
  dialNow = () => {
    this.stopped = this.wantsSignIn = false
    this.wake()
  }

  /** Connects at once instead of waiting for the backoff, unless the server said not to come back. */
  wake = () => {
    if (this.stopped) return
    this.attempt = 0
    if (!this.current && !this.next) this.dial()
  }

  /** Another page of this site has left a token. */
  tokenCame = () => {
    if (this.wantsSignIn) this.dialNow()
  }

  /** Ends it until it is asked to dial, and says why. */
  giveUp = (reason: string) => {
    this.leave()
    this.handlers.status({ at: 'closed', reason })
  }

  /** The browser says that it is offline. */
  goneOffline = () => {
    if (this.stopped) return
    this.cancelDial()
    this.next?.close(LOST)
    this.next = undefined
    this.current?.die()
    this.handlers.status({ at: 'offline' })
  }

  ask = (ask: Ask): Promise<Body> => this.current?.ask(ask) ?? Promise.resolve(UNANSWERED)

  /** Whether nothing can be asked now. */
  get over(): boolean {
    return !this.current
  }

  /** Says goodbye: the room hears it at once. */
  leave = () => {
    this.stopped = true
    this.cancelDial()
    this.cancelReturn()
    this.next?.close(GOODBYE)
    this.current?.close(GOODBYE)
    this.current = this.next = undefined
  }

  private dial(way = this.way) {
    this.cancelDial()
    if (!this.current) this.handlers.status({ at: 'connecting' })
    const session: Session = new Session(
      this.env,
      way,
      () => void this.greet(session),
      (body) => this.event(session, body),
      (code, reason) => this.ended(session, code, reason),
    )
    this.next = session
  }

  private async greet(session: Session): Promise<void> {
    const token = this.env.token.get()
    const reply = await session.ask({ hello: token ? { token } : {} })
    if (session.over) return
    if (reply.type === 'error') {
      if (reply.code === 'UNAUTHENTICATED' && token) this.env.token.set('')
      if (reply.code === 'FORBIDDEN') return session.refuse(reply.message)
      if (reply.code === 'UNAUTHENTICATED' && (!token || this.signedIn)) {
        this.signedIn = false
        this.wantsSignIn = true
        return this.giveUp(reply.message)
      }
      if (reply.code !== 'UNAUTHENTICATED' && !reply.retryable) return session.die()
      this.env.after(Math.max(reply.retryAfterMs, reply.retryable ? 250 : 0), () => {
        if (!session.over) void this.greet(session)
      })
      return
    }
    if (reply.type !== 'welcome') return session.die()
    this.signedIn = reply.member.kind === 'user'
    this.keepToken(session, reply.token, reply.expiresAt)
    session.welcomed(reply.heartbeatSeconds)
    const joined = await this.handlers.welcome(reply, session)
    if (session.over) return
    if (!joined) return session.die()
    // Only now is the older session let go: whatever it still brought was heard too.
    const old = this.current
    this.attempt = 0
    this.current = session
    this.way = session.way
    this.returnLater()
    if (this.next === session) this.next = undefined
    // Said goodbye for the session alone: the member is here by the newer one.
    old?.close(GOODBYE)
    this.handlers.status({ at: 'open' })
  }

  private keepToken(session: Session, token: string, expiresAt: string) {
    this.env.token.set(token)
    session.refreshBefore(expiresAt, () => void this.refresh(session, token, expiresAt))
    this.refreshNow = () => void this.refresh(session, token, expiresAt)
  }

  /** Gets a token with a new term: for the one that another page of this site has left meanwhile, or for mine. */
  private async refresh(session: Session, mine: string, expiresAt: string) {
    const stored = this.env.token.get()
    const reply = await session.ask({ refresh: stored && stored !== mine ? { token: stored } : {} })
    if (session.over) return
    if (reply.type === 'refreshed') this.keepToken(session, reply.token, reply.expiresAt)
    else session.refreshBefore(expiresAt, () => void this.refresh(session, mine, expiresAt))
  }

  private event(session: Session, body: Body) {
    // My sign-in has ended. If there is no newer token, the server closes soon, and says so.
    if (body.type === 'error' && body.code === 'UNAUTHENTICATED' && session === this.current) this.refreshNow()
    if (body.type === 'move' && session === this.current && !this.next) {
      this.cancelDial()
      this.cancelDial = this.env.after(this.env.random() * body.withinSeconds * 1000, () => this.dial())
    }
    this.handlers.event(body)
  }

  private ended(session: Session, code: number, reason: string) {
    if (session === this.current) this.current = undefined
    if (session === this.next) this.next = undefined
    if (this.stopped || this.next) return
    // It may be this way that does not come through.
    if (!session.welcome && !this.current) this.way = session.way === 'websocket' ? 'http' : 'websocket'
    if (this.current && session.way !== this.current.way) {
      this.returnLater()
    } else if (this.current) {
      // The move failed; the older session lives, so nobody need know.
      this.cancelDial = this.env.after(this.wait(), () => this.dial())
    } else if (!comesBack(code)) {
      this.stopped = true
      this.wantsSignIn = code === NO_SIGN_IN
      this.handlers.status({ at: 'closed', reason: reason || `The server ended the session (${code}).` })
    } else if (!this.env.online()) {
      this.handlers.status({ at: 'offline' })
    } else {
      const wait = this.wait()
      this.handlers.status({ at: 'waiting', until: this.env.now() + wait })
      this.cancelDial()
      this.cancelDial = this.env.after(wait, () => this.dial())
    }
  }

  /** Goes back to a WebSocket as it moves: the older session stays until the new one is welcome. */
  private returnLater() {
    this.cancelReturn()
    if (this.current?.way !== 'http') return
    this.cancelReturn = this.env.after(RETURN_MS, () => {
      if (this.next) this.returnLater()
      else if (this.current) this.dial('websocket')
    })
  }

  private wait(): number {
    return backoff(this.attempt++, this.env.random())
  }
}
