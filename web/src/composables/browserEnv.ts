/** What the connection needs of the browser, and the moments at which it should act. */
import type { Env, Socket } from '../protocol/connection.ts'
import { HttpSocket } from '../protocol/http.ts'

const TOKEN_KEY = 'parlor.token'

/** Who I am to the server, for all pages of this site. */
export const token: Env['token'] = {
  get: () => localStorage.getItem(TOKEN_KEY) ?? '',
  set: (token) => (token ? localStorage.setItem(TOKEN_KEY, token) : localStorage.removeItem(TOKEN_KEY)),
}

export function browserEnv(): Env {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:'
  return {
    // A WebSocket is more than a Socket, but TypeScript minds the `this` of its handlers.
    open: (way) =>
      way === 'http'
        ? new HttpSocket(location.origin, fetch.bind(window))
        : (new WebSocket(`${scheme}//${location.host}/ws`, 'chat.v1.json') as unknown as Socket),
    now: () => Date.now(),
    random: () => Math.random(),
    online: () => navigator.onLine,
    after(ms, run) {
      const timer = setTimeout(run, ms)
      return () => clearTimeout(timer)
    },
    token,
  }
}

/** How long at most drawing waits where no frames come, as in a tab behind another. */
const UNSEEN_MS = 50

/** Runs `draw` soon, however often it is asked for until the next frame of the screen. */
export function oncePerFrame(draw: () => void): () => void {
  let asked = false
  const run = () => {
    if (!asked) return
    asked = false
    draw()
  }
  return () => {
    if (asked) return
    asked = true
    requestAnimationFrame(run)
    setTimeout(run, UNSEEN_MS)
  }
}

/**
 * Tells when the page may be back in touch (`wake`) or is out of it, and when another page of this site has left a
 * token. Returns what undoes this. A page that goes away says nothing: the browser closes its connection, and the member
 * has the grace to come back, since it may be a reload.
 */
export function onWake(on: { wake(): void; offline(): void; tokenCame(): void }): () => void {
  const visible = () => {
    if (document.visibilityState === 'visible') on.wake()
  }
  const back = (event: PageTransitionEvent) => {
    if (event.persisted) on.wake()
  }
  const stored = (event: StorageEvent) => {
    if (event.key === TOKEN_KEY && event.newValue) on.tokenCame()
  }
  window.addEventListener('storage', stored)
  window.addEventListener('online', on.wake)
  window.addEventListener('offline', on.offline)
  window.addEventListener('pageshow', back)
  document.addEventListener('visibilitychange', visible)
  return () => {
    window.removeEventListener('storage', stored)
    window.removeEventListener('online', on.wake)
    window.removeEventListener('offline', on.offline)
    window.removeEventListener('pageshow', back)
    document.removeEventListener('visibilitychange', visible)
  }
}
