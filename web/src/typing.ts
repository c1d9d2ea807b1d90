/** Who is writing. Whoever is not heard of again for a while has stopped, and so has who says it. */
import type { Body, Member } from './protocol/frames.ts'

/** How long a member counts as writing after they were heard of. */
const LASTS_MS = 5000
/** The least time between two tellings that I am writing. */
const TELL_MS = 3000

interface Clock {
  now(): number
  after(ms: number, run: () => void): () => void
}

export class Typing {
  private readonly clock: Clock
  private readonly changed: () => void
  private readonly writing = new Map<string, { member: Member; stop: () => void }>()
  private told = -Infinity

  constructor(clock: Clock, changed: () => void) {
    this.clock = clock
    this.changed = changed
  }

  get members(): Member[] {
    return [...this.writing.values()].map(({ member }) => member)
  }

  /** Takes in an event of the room that is open. */
  hear(body: Body, me: string) {
    if (body.type === 'typing' && body.member.id !== me) {
      this.writing.get(body.member.id)?.stop()
      const stop = this.clock.after(LASTS_MS, () => this.forget(body.member.id))
      this.writing.set(body.member.id, { member: body.member, stop })
      this.changed()
    }
    if (body.type === 'message') this.forget(body.message.member.id)
    if (body.type === 'presence') body.left.forEach((id) => this.forget(id))
  }

  /** Another room is looked at, or nothing is heard. */
  clear() {
    this.told = -Infinity
    for (const id of [...this.writing.keys()]) this.forget(id)
  }

  /** I wrote something: tells the others, if it is time. */
  tell(ask: () => void) {
    const now = this.clock.now()
    if (now - this.told < TELL_MS) return
    this.told = now
    ask()
  }

  private forget(id: string) {
    this.writing.get(id)?.stop()
    if (this.writing.delete(id)) this.changed()
  }
}
