/**
 * What I say and change, on its way: one message after the other, so that they keep their order; again under the same
 * `client_id` until it is known what became of it, so that each is one.
 */
import type { Ask, Body, Failure } from './protocol/frames.ts'
import type { Action, Extras, Pending, RoomState } from './timeline.ts'

/** How long what I said may wait for its acknowledgement while connected before I am told. */
const UNSENT_MS = 10_000
/** The least pause before what was refused for now is tried again. */
export const RETRY_MS = 400

/** What sending needs of the chat. */
export interface Desk {
  states(): Iterable<RoomState>
  act(room: string, action: Action): void
  ask(ask: Ask): Promise<Body>
  connected(): boolean
  now(): number
  pause(ms: number): Promise<void>
}

export class Sending {
  private readonly desk: Desk
  private running = false

  constructor(desk: Desk) {
    this.desk = desk
  }

  say(room: string, text: string, extras: Extras) {
    this.desk.act(room, { type: 'compose', clientId: freshId(), text, at: new Date(this.desk.now()).toISOString(), ...extras })
    void this.run()
  }

  /** Sends what waits, in the rooms where I am. */
  async run() {
    if (this.running) return
    this.running = true
    let since = this.desk.now()
    for (let next = this.next(); next && this.desk.connected(); next = this.next()) {
      const { room, row } = next
      const reply = await this.desk.ask({ send: request(room, row) })
      if (reply.type === 'sent') {
        this.desk.act(room, { type: 'kept', clientId: row.clientId, seq: reply.seq })
      } else if (reply.type === 'error' && reply.retryable && this.desk.now() - since < UNSENT_MS) {
        await this.desk.pause(reply.retryAfterMs)
        continue
      } else if (reply.type === 'error' && this.desk.connected()) {
        this.desk.act(room, { type: 'fail', clientId: row.clientId, reason: reply.message, canRetry: reply.retryable })
      }
      since = this.desk.now()
    }
    this.running = false
  }

  /** Changes something said before. Nothing: it is done. */
  async change(ask: (clientId: string) => Ask): Promise<Failure | undefined> {
    const clientId = freshId()
    for (const until = this.desk.now() + UNSENT_MS; ; ) {
      const reply = await this.desk.ask(ask(clientId))
      if (reply.type !== 'error') return undefined
      if (!reply.retryable || this.desk.now() >= until) return reply
      await this.desk.pause(reply.retryAfterMs)
    }
  }

  private next(): { room: string; row: Pending } | undefined {
    for (const state of this.desk.states()) {
      const row = state.joined && state.pending.find((row) => row.state === 'sending')
      if (row) return { room: state.room, row }
    }
    return undefined
  }
}

function request(room: string, { clientId, text, replyTo, mentions, attachments }: Pending): NonNullable<Ask['send']> {
  return {
    room,
    client_id: clientId,
    text,
    ...(replyTo && { reply_to: replyTo }),
    ...(mentions?.length && { mentions }),
    ...(attachments?.length && { attachments: attachments.map(({ id }) => id) }),
  }
}

/** `randomUUID` exists only where the page came over HTTPS or from this machine. */
function freshId(): string {
  if (crypto.randomUUID) return crypto.randomUUID()
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('')
}
