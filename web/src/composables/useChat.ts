/**
 * The chat behind the page: one connection, one room, and what I say. Joins the timeline's reducer to the connection;
 * knows neither the DOM nor how frames look.
 */
import { computed, onScopeDispose, ref, shallowRef } from 'vue'
import { browserEnv, onWake } from './browserEnv.ts'
import { Connection, type Status } from '../protocol/connection.ts'
import type { Ask, Body, Member } from '../protocol/frames.ts'
import { emptyRoom, hasOlder, position, reduce, type Action, type Pending } from '../timeline.ts'

/** How long what I said may wait for its acknowledgement while connected before I am told. */
const UNSENT_MS = 10_000
/** The least pause before a refused send is tried again. */
const RETRY_MS = 400
const OLDER_PAGE = 100
/** The most members that one page brings; in a larger room the list is a part, and the count tells the rest. */
const ROSTER_PAGE = 200

export function useChat(room: string) {
  const state = shallowRef(emptyRoom(room))
  const me = shallowRef<Member>()
  const status = shallowRef<Status>({ at: 'connecting' })
  const maxTextBytes = ref(8192)
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
    status: (now) => (status.value = now),
    async welcome(welcome, ask) {
      me.value = welcome.member
      maxTextBytes.value = welcome.maxTextBytes
      await join(ask)
      void sendAll(ask)
    },
    event: act,
  })

  /** The one way back: what came after the last message that I saw, or the newest page. */
  async function join(ask: (ask: Ask) => Promise<Body>) {
    const since = position(state.value)
    const reply = await ask({ join: since ? { room, since } : { room } })
    if (reply.type === 'joined') act(reply)
  }

  async function fillHole() {
    if (joining) return
    joining = true
    await join(connection.ask)
    joining = false
  }

  /** Who left while the gateway was out of touch shows only in the count. */
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
    void sendAll(connection.ask)
  }

  function retry(clientId: string) {
    act({ type: 'retry', clientId })
    void sendAll(connection.ask)
  }

  /** Sends what waits, one after the other, so that my messages keep their order. */
  async function sendAll(ask: (ask: Ask) => Promise<Body>) {
    if (sending) return
    sending = true
    const done = new Set<string>()
    const triedSince = new Map<string, number>()
    for (let row = nextUnsent(done); row; row = nextUnsent(done)) {
      const { clientId } = row
      const since = triedSince.get(clientId) ?? Date.now()
      triedSince.set(clientId, since)
      const reply = await ask({ send: { room, client_id: clientId, text: row.text } } as unknown as Ask)
      if (reply.type !== 'error') {
        done.add(clientId)
      } else if (!reply.retryable) {
        act({ type: 'fail', clientId, reason: reply.message, canRetry: false })
      } else if (Date.now() - since > UNSENT_MS) {
        act({ type: 'fail', clientId, reason: reply.message, canRetry: true })
      } else if (status.value.at === 'open') {
        await new Promise((resolve) => setTimeout(resolve, Math.max(reply.retryAfterMs, RETRY_MS)))
      } else {
        // The next welcome sends them again.
        break
      }
    }
    sending = false
  }

  function nextUnsent(done: Set<string>): Pending | undefined {
    return state.value.pending.find((row) => row.state === 'sending' && !done.has(row.clientId))
  }

  const stopListening = onWake({ wake: connection.dialNow, offline: connection.goneOffline, leave: connection.leave })
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
    loadingOlder,
    members: computed(() => [...state.value.members.values()].sort((a, b) => a.name.localeCompare(b.name))),
    say,
    retry,
    discard: (clientId: string) => act({ type: 'discard', clientId }),
    loadOlder,
    dialNow: connection.dialNow,
  }
}

/** `randomUUID` exists only where the page came over HTTPS or from this machine. */
function freshId(): string {
  if (crypto.randomUUID) return crypto.randomUUID()
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
