/** History of the open room, page by page, one at a time. */
import { find } from './changes.ts'
import type { Ask, Body, MessageRef } from './protocol/frames.ts'
import { hasNewer, hasOlder, type Action, type RoomState } from './timeline.ts'

const PAGE = 100
/** The most that the server gives at once. */
const LONGEST_PAGE = 200

/** What paging needs of the chat. */
export interface Reader {
  state(): RoomState
  act(room: string, action: Action): void
  ask(ask: Ask): Promise<Body>
  changed(): void
}

export class Paging {
  loading = false
  private readonly reader: Reader

  constructor(reader: Reader) {
    this.reader = reader
  }

  older = async () => {
    const state = this.reader.state()
    if (hasOlder(state)) await this.page(state, state.from, PAGE)
  }

  newer = async () => {
    const state = this.reader.state()
    if (hasNewer(state)) await this.page(state, state.to + 1 + PAGE, PAGE)
  }

  newest = async () => {
    const state = this.reader.state()
    if (hasNewer(state)) await this.page(state, 0, PAGE)
  }

  /** Loads a message and what is around it. Whether it is still there. */
  around = async (ref: MessageRef): Promise<boolean> => {
    const state = this.reader.state()
    if (!holds(state, ref)) await this.page(state, ref.seq + PAGE + 1, LONGEST_PAGE)
    const now = this.reader.state()
    return now.room === state.room && holds(now, ref)
  }

  private async page(state: RoomState, before: number, limit: number) {
    if (this.loading) return
    this.loading = true
    this.reader.changed()
    const { room, run } = state
    const reply = await this.reader.ask({ history: { room, before, limit } })
    this.loading = false
    const { act } = this.reader
    if (reply.type === 'history') act(room, { type: 'page', run, epoch: reply.epoch, before, limit, messages: reply.messages })
    this.reader.changed()
  }
}

function holds(state: RoomState, { seq, id }: MessageRef): boolean {
  return state.messages[find(state.messages, seq)]?.id === id
}
