import { describe, expect, it } from 'vitest'
import type { Joined, Member, Message } from '../src/protocol/frames.ts'
import { toRows } from '../src/rows.ts'
import { emptyRoom, hasOlder, position, reduce, type Action, type RoomState } from '../src/timeline.ts'

const ada: Member = { id: 'm_ada', name: 'Ada', avatar: '/avatars/Ada.svg', kind: 'guest' }
const bob: Member = { ...ada, id: 'm_bob', name: 'Bob' }

const said = (seq: number, more: Partial<Message> = {}): Message => ({
  epoch: 'e', seq, id: `x${seq}`, clientId: `c${seq}`, text: `t${seq}`, member: ada, deleted: false, deletes: 0,
  edits: 0, reaction: undefined, changed: 0, editedAt: '', replyTo: undefined, mentions: [], reactions: [], attachments: [],
  sentAt: `2026-11-24T09:${String(seq).padStart(2, '0')}:00Z`, ...more,
})
const heard = (seq: number, more: Partial<Message> = {}): Action => ({ type: 'message', room: 'lobby', message: said(seq, more) })
const joined = (seqs: number[], more: Partial<Joined> = {}): Joined => ({
  type: 'joined', room: 'lobby', epoch: 'e', head: seqs.at(-1) ?? 0, resumed: false,
  messages: seqs.map((seq) => said(seq)), members: [ada], memberCount: 1, read: 0, ...more,
})
const page = (before: number, seqs: number[], limit = seqs.length): Action => ({
  type: 'page', run: 1, epoch: 'e', before, limit, messages: seqs.map((seq) => said(seq)),
})
const after = (...actions: Action[]): RoomState => actions.reduce(reduce, { ...emptyRoom('lobby'), seat: 'end' })
const seqs = (state: RoomState) => state.messages.map((message) => message.seq)

describe('what operators do', () => {
  const nobody: Member = { id: '', name: '', avatar: '', kind: '' }
  const deletes = (target: number) => ({ text: '', clientId: '', member: nobody, deletes: target })
  const told = (state: RoomState) => toRows(state, ada).flatMap((row) => (row.kind === 'message' ? [row.message.deleted ? '-' : row.message.text] : []))

  it('takes the text of a message and leaves its place, whichever came first', () => {
    const live = after(joined([1, 2]), heard(3, deletes(2)), heard(4))
    expect([told(live), live.head, live.hole]).toEqual([['t1', '-', 't4'], 4, false])
    expect(live.messages.map((message) => message.text)).toEqual(['t1', '', 't4'])
    const missed = after(joined([1, 2]), joined([3], { resumed: true, messages: [said(3, deletes(1))] }))
    expect(told(missed)).toEqual(['-', 't2'])
    // A page that was read before the deletion, and comes after it.
    const paged = after(joined([3]), heard(4, deletes(2)), page(3, [1, 2]))
    expect(told(paged)).toEqual(['t1', '-', 't3'])
    expect(position(paged)?.seq).toBe(4)
  })

  it('takes me out of the room, with what was said there, until I am let in again', () => {
    const out = after(joined([1, 2]), { type: 'removed', room: 'lobby', reason: 'be kind' })
    expect([out.removed, out.joined, seqs(out), position(out)]).toEqual(['be kind', false, [], undefined])
    expect(reduce(out, joined([1, 2, 3]))).toMatchObject({ removed: '', joined: true, head: 3, lost: false })
    const elsewhere = after(joined([1]), { type: 'removed', room: 'attic', reason: 'be kind' })
    expect(elsewhere.removed).toBe('')
  })
})

describe('what is heard', () => {
  it('comes in order, once', () => {
    const state = after(joined([1, 2]), heard(3), heard(3), heard(2), heard(4))
    expect(seqs(state)).toEqual([1, 2, 3, 4])
    expect(state.hole).toBe(false)
  })

  it('shows a hole, which a join fills', () => {
    const state = after(joined([1]), heard(3))
    expect([state.hole, seqs(state)]).toEqual([true, [1]])
    expect(position(state)).toEqual({ epoch: 'e', seq: 1, id: 'x1' })
    const filled = reduce(state, joined([2, 3], { resumed: true }))
    expect([filled.hole, seqs(filled)]).toEqual([false, [1, 2, 3]])
  })

  it('shows a hole when a heartbeat names a newer head', () => {
    const beat = (seq: number): Action => ({ type: 'heartbeat', heads: [{ room: 'lobby', epoch: 'e', seq }] })
    expect(after(joined([1, 2]), beat(2)).hole).toBe(false)
    expect(after(joined([1, 2]), beat(3)).hole).toBe(true)
  })

  it('shows a hole when a heartbeat names a lower head of another epoch', () => {
    const beat = (epoch: string, seq: number): Action => ({ type: 'heartbeat', heads: [{ room: 'lobby', epoch, seq }] })
    expect(after(joined([1, 2, 3]), beat('e2', 1)).hole).toBe(true)
    expect(after(joined([1, 2, 3]), beat('e2', 3)).hole).toBe(false)
    // While I move between gateways, the newer one may stand behind the older.
    expect(after(joined([1, 2, 3]), beat('e', 2)).hole).toBe(false)
  })

  it('goes on in a new epoch when the numbers do', () => {
    const state = after(joined([1]), heard(2, { epoch: 'e2' }))
    expect([state.epoch, seqs(state)]).toEqual(['e2', [1, 2]])
  })

  it('starts afresh when the room lost its numbering, and says so', () => {
    const state = after(joined([1, 2, 3]), joined([1], { epoch: 'e2' }))
    expect([state.epoch, state.head, seqs(state), state.lost]).toEqual(['e2', 1, [1], true])
  })

  it('has lost nothing when I was away for longer than the server tells', () => {
    const state = after(joined([1, 2, 3]), joined([8, 9]))
    expect([seqs(state), state.lost]).toEqual([[8, 9], false])
  })

  it('is not told twice by a move whose joined is older than what the other gateway told', () => {
    const state = after(joined([1, 2]), heard(3), joined([], { resumed: true, head: 2 }), heard(3), heard(4))
    expect([state.head, seqs(state)]).toEqual([4, [1, 2, 3, 4]])
  })

  it('of another room is not ours', () => {
    expect(seqs(after(joined([1]), { type: 'message', room: 'other', message: said(2) }))).toEqual([1])
  })

  it('ends the same for any replayed part', () => {
    const actions = [joined([1, 2]), heard(3), heard(4), heard(5)]
    const whole = after(...actions)
    for (let from = 1; from <= actions.length; from++) {
      for (let to = from; to <= actions.length; to++) {
        expect(after(...actions, ...actions.slice(from, to))).toEqual(whole)
      }
    }
  })
})

describe('older messages', () => {
  it('go before what is there, once', () => {
    const state = after(joined([5, 6]), page(5, [3, 4]), page(5, [3, 4]))
    expect(seqs(state)).toEqual([3, 4, 5, 6])
    expect(hasOlder(state)).toBe(true)
    expect(hasOlder(after(joined([1])))).toBe(false)
  })
})

describe('what I say', () => {
  const compose: Action = { type: 'compose', clientId: 'mine', text: 'hi', at: '2026-11-24T09:30:00Z' }

  it('stands at the end until it is heard', () => {
    const waiting = after(joined([1]), compose)
    expect(toRows(waiting, ada).at(-1)).toMatchObject({ kind: 'pending', pending: { state: 'sending' } })
    const confirmed = reduce(waiting, heard(2, { clientId: 'mine' }))
    expect(toRows(confirmed, ada).filter((row) => row.kind === 'pending')).toEqual([])
    expect(seqs(confirmed)).toEqual([1, 2])
  })

  it('is confirmed by a replay too, and moves nothing by its acknowledgement', () => {
    const acked = after(joined([1]), compose, { type: 'kept', seq: 2, clientId: 'mine' })
    expect([acked.head, acked.pending[0]?.state]).toEqual([1, 'kept'])
    const back = reduce(acked, joined([2], { resumed: true, messages: [said(2, { clientId: 'mine' })] }))
    expect([back.pending, seqs(back)]).toEqual([[], [1, 2]])
  })

  it('is not on its way any more when the newest page begins after it', () => {
    const kept = after(joined([]), compose, { type: 'kept', seq: 1, clientId: 'mine' })
    expect(reduce(kept, joined([101, 102])).pending).toEqual([])
    const late = after(joined([]), compose, joined([101, 102]))
    expect(reduce(late, { type: 'kept', seq: 1, clientId: 'mine' }).pending).toEqual([])
  })

  it('can fail, be tried again, and be discarded', () => {
    const failed = after(joined([]), compose, { type: 'fail', clientId: 'mine', reason: 'no', canRetry: true })
    expect(failed.pending[0]).toMatchObject({ state: 'failed', reason: 'no' })
    expect(reduce(failed, { type: 'retry', clientId: 'mine' }).pending[0]).toMatchObject({ state: 'sending' })
    expect(reduce(failed, { type: 'discard', clientId: 'mine' }).pending).toEqual([])
  })
})

describe('who is there', () => {
  it('follows the events, however often they come', () => {
    const came: Action = { type: 'presence', room: 'lobby', joined: [bob], left: [], memberCount: 2 }
    const went: Action = { type: 'presence', room: 'lobby', joined: [], left: ['m_ada'], memberCount: 1 }
    const state = after(joined([]), came, came, went, went)
    expect([[...state.members.keys()], state.memberCount]).toEqual([['m_bob'], 1])
  })
})

describe('rows', () => {
  it('share a header within five minutes, and tell days apart', () => {
    const state = after(
      joined([1, 2]),
      heard(3, { member: bob }),
      heard(4, { member: bob, sentAt: '2026-11-24T09:30:00Z' }),
      heard(5, { member: bob, sentAt: '2026-11-26T09:30:00Z' }),
    )
    const rows = toRows(state, ada)
    expect(rows.map((row) => row.kind)).toEqual(['day', 'message', 'message', 'message', 'message', 'day', 'message'])
    const starts = rows.flatMap((row) => (row.kind === 'message' ? [row.startsGroup] : []))
    expect(starts).toEqual([true, false, true, true, true])
  })
})
