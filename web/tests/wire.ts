import { vi } from 'vitest'
import type { Env, Socket, Way } from '../src/protocol/connection.ts'

/** A gateway of which every socket is a script. */
export class Wire implements Socket {
  onopen: Socket['onopen'] = null
  onmessage: Socket['onmessage'] = null
  onclose: Socket['onclose'] = null
  sent: { id: number; [key: string]: unknown }[] = []
  closed = 0
  send(text: string) {
    this.sent.push(JSON.parse(text))
  }
  close(code: number) {
    this.closed ||= code
  }
  hear(frame: object) {
    this.onmessage?.({ data: JSON.stringify(frame) })
  }
  async welcome(more: object = {}) {
    this.onopen?.()
    await settle()
    const welcome = { member: { id: 'm' }, token: 'T', heartbeat_seconds: 10, ...more }
    this.hear({ id: this.sent.at(-1)!.id, welcome })
    await settle()
  }
}

/** Lets everything happen that waits for no time to pass. */
export const settle = () => vi.advanceTimersByTimeAsync(0)

/** The timers, the sockets and the token of a page, all in the test's hands. */
export class Page implements Env {
  wires: Wire[] = []
  ways: Way[] = []
  isOnline = true
  stored = ''
  readonly token = { get: () => this.stored, set: (fresh: string) => void (this.stored = fresh) }

  open(way: Way): Socket {
    this.ways.push(way)
    this.wires.push(new Wire())
    return this.wires.at(-1)!
  }
  now() {
    return Date.now()
  }
  random() {
    return 0.5
  }
  online() {
    return this.isOnline
  }
  after(ms: number, run: () => void) {
    const timer = setTimeout(run, ms)
    return () => clearTimeout(timer)
  }
}
