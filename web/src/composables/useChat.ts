/**
 * The chat behind the page: one connection, one room, and what I say. Joins the timeline's reducer to the connection;
 * knows neither the DOM nor how frames look.
 */
import { computed, onScopeDispose, ref, shallowRef } from 'vue'
import { browserEnv, onWake } from './browserEnv.ts'
import { Connection, type Status, type Voice } from '../protocol/connection.ts'
import type { Ask, Member } from '../protocol/frames.ts'
import { emptyRoom, hasOlder, position, reduce, type Action, type Pending } from '../timeline.ts'

/** How long what I said may wait for its acknowledgement while connected before I am told. */
const UNSENT_MS = 10_000
/** The least pause before what was refused for now is tried again. */
const RETRY_MS = 400
const OLDER_PAGE = 100
/** The most members that one page brings; in a larger room the list is a part, and the count tells the rest. */
const ROSTER_PAGE = 200

export function useChat(room: string) {
  const state = shallowRef(emptyRoom(room))
  const me = shallowRef<Member>()
  const status = shallowRef<Status>({ at: 'connecting' })
  const maxTextBytes = ref(8192)
  /** Names the page that the gateway serves now. */
  const webBuild = ref('')
  const loadingOlder = ref(false)
  let joining = false
  let sending = false
  let readingRoster = false

  const act = (action: Action) => {
    state.value = reduce(state.value, action)
    if (state.value.hole) void fillHole()
    if (action.type === 'presence') void checkRoster()
  }

  const connection = new Connection(browserEnv(), {
    status(now) {
      status.value = now
      if (now.at === 'open') void sendAll()
    },
    async welcome(welcome, session) {
      me.value = welcome.member
      maxTextBytes.value = welcome.maxTextBytes
      webBuild.value = welcome.webBuild
      return join(session)
    },
    event(body) {
      if (body.type === 'left' && body.room === room) connection.giveUp('Your sign-in does not open this room any more.')
      else act(body)
    },
  })

  /** The one way back: what came after the last message that I saw, or the newest page. Whether I am in the room. */
  async function join(session: Voice): Promise<boolean> {
    while (!session.over) {
      const since = position(state.value)
      const reply = await session.ask({ join: since ? { room, since } : { room } })
      if (reply.type === 'joined') {
        act(reply)
        return true
      }
      if (reply.type === 'error' && reply.code === 'FORBIDDEN') {
        // The session is good for another try, when I ask for it.
        act({ type: 'removed', room, reason: reply.message })
        return true
      }
      if (reply.type !== 'error' || !reply.retryable) return false
      await pause(reply.retryAfterMs)
    }
    return false
  }

  async function fillHole() {
    if (joining) return
    joining = true
    await join(connection)
    joining = false
  }

  /** Who left while the gateway was out of touch for long shows only in the count. */
  async function checkRoster() {
    const { members, memberCount } = state.value
    if (readingRoster || members.size === memberCount || memberCount > ROSTER_PAGE) return
    readingRoster = true
    const reply = await connection.ask({ members: { room, limit: ROSTER_PAGE } })
    if (reply.type === 'members') act(reply)
    readingRoster = false
  }

  async function loadOlder() {
    if (loadingOlder.value || !hasOlder(state.value)) return
    loadingOlder.value = true
    const before = state.value.messages[0]?.seq ?? 0
    const reply = await connection.ask({ history: { room, before, limit: OLDER_PAGE } })
    if (reply.type === 'history') act(reply)
    loadingOlder.value = false
  }

  function say(text: string) {
    act({ type: 'compose', clientId: freshId(), text, at: new Date().toISOString() })
    void sendAll()
  }

  function retry(clientId: string) {
    act({ type: 'retry', clientId })
    void sendAll()
  }

  /** Sends what waits, one after the other, so that my messages keep their order. */
  async function sendAll() {
    if (sending) return
    sending = true
    let tryingSince = Date.now()
    for (let row = nextUnsent(); row && status.value.at === 'open'; row = nextUnsent()) {
      const { clientId } = row
      const reply = await connection.ask({ send: { room, client_id: clientId, text: row.text } } as unknown as Ask)
      if (reply.type === 'sent') {
        act({ type: 'kept', clientId, seq: reply.seq })
      } else if (reply.type === 'error' && reply.retryable && Date.now() - tryingSince < UNSENT_MS) {
        await pause(reply.retryAfterMs)
        continue
      } else if (reply.type === 'error' && status.value.at === 'open') {
        act({ type: 'fail', clientId, reason: reply.message, canRetry: reply.retryable })
      }
      tryingSince = Date.now()
    }
    sending = false
  }

  function nextUnsent(): Pending | undefined {
    return state.value.pending.find((row) => row.state === 'sending')
  }

  const stopListening = onWake({ wake: connection.wake, offline: connection.goneOffline, tokenCame: connection.tokenCame })
  onScopeDispose(() => {
    stopListening()
    connection.leave()
  })
  connection.dialNow()

  return {
    state,
    me,
    status,
    maxTextBytes,
    webBuild,
    loadingOlder,
    members: computed(() => [...state.value.members.values()].sort((a, b) => a.name.localeCompare(b.name))),
    say,
    retry,
    discard: (clientId: string) => act({ type: 'discard', clientId }),
    loadOlder,
    dialNow: connection.dialNow,
    rejoin: fillHole,
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, Math.max(ms, RETRY_MS)))
}

/** `randomUUID` exists only where the page came over HTTPS or from this machine. */
function freshId(): string {
  if (crypto.randomUUID) return crypto.randomUUID()
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
