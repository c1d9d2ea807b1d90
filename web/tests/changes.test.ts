import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { amend } from '../src/changes.ts'
import type { Joined, Member, Message } from '../src/protocol/frames.ts'
import { emptyRoom, position, reduce, type Action, type RoomState } from '../src/timeline.ts'

const ada: Member = { id: 'm_ada', name: 'Ada', avatar: '', kind: 'guest' }
const bob: Member = { ...ada, id: 'm_bob', name: 'Bob' }
const said = (seq: number, more: Partial<Message> = {}): Message => ({
  epoch: 'e', seq, id: `x${seq}`, clientId: `c${seq}`, text: `t${seq}`, member: ada, sentAt: `at ${seq}`,
  deleted: false, deletes: 0, edits: 0, reaction: undefined, changed: 0, editedAt: '', replyTo: undefined,
  mentions: [], reactions: [], attachments: [], ...more,
})
const reaction = (seq: number, emoji: string, removed = false) => ({ reaction: { seq, emoji, removed } })

describe('a change', () => {
  const file = { id: 'f', name: 'f.png', type: 'image/png', size: 1, width: 1, height: 1 }
  const full = said(1, { mentions: ['m_bob'], attachments: [file], reactions: [{ emoji: '👍', members: ['m_ada'] }] })

  it.each<[string, Partial<Message>, Partial<Message>]>([
    ['edits', { edits: 1, text: 'new', mentions: ['m_eve'] }, { text: 'new', mentions: ['m_eve'], editedAt: 'at 9' }],
    ['deletes', { deletes: 1 }, { deleted: true, text: '', mentions: [], reactions: [], attachments: [] }],
    ['puts a reaction', reaction(1, '👍'), { reactions: [{ emoji: '👍', members: ['m_ada', 'm_bob'] }] }],
    ['puts another', reaction(1, '🎉'), { reactions: [{ emoji: '👍', members: ['m_ada'] }, { emoji: '🎉', members: ['m_bob'] }] }],
    ['takes back one that is not there', reaction(1, '👍', true), {}],
    ['takes back the last', { ...reaction(1, '👍', true), member: ada }, { reactions: [] }],
    ['puts one that is there', { ...reaction(1, '👍'), member: ada }, {}],
  ])('%s', (_, change, expected) => {
    expect(amend([full], [said(9, { member: bob, ...change })])).toEqual([{ ...full, ...expected, changed: 9 }])
  })

  it('that is folded in, or names nothing that is loaded, does nothing', () => {
    const folded = [said(1, { changed: 9 })]
    expect(amend(folded, [said(9, { deletes: 1 }), said(8, { edits: 1 }), said(10, { deletes: 2 })])).toBe(folded)
  })

  it('that is an edit which another change followed waits for that one', () => {
    const followed = said(8, { edits: 1, text: '', deleted: true, changed: 9 })
    expect(amend([full], [followed])).toEqual([full])
    expect(amend([full], [followed, said(9, { edits: 1, text: 'new' })])[0]!.text).toBe('new')
  })

  it('of what is deleted changes nothing of it', () => {
    const deleted = said(1, { deleted: true, text: '', changed: 5 })
    expect(amend([deleted], [said(6, { edits: 1, text: 'back' })])).toEqual([{ ...deleted, changed: 6 }])
  })
})

/** A room's whole log, as it grows: each step says something or changes something said before. */
const logs = fc
  .array(fc.record({ act: fc.constantFrom('say', 'say', 'edit', 'delete', 'put', 'take'), of: fc.nat(), by: fc.constantFrom(ada, bob) }), { minLength: 1, maxLength: 40 })
  .map((steps) => {
    const log: Message[] = []
    for (const { act, of, by } of steps) {
      const seq = log.length + 1
      const targets = log.filter((each) => !each.deletes && !each.edits && !each.reaction).map((each) => each.seq)
      const named = targets[of % (targets.length || 1)]
      if (!named || act === 'say') log.push(said(seq, { member: by }))
      else if (act === 'edit') log.push(said(seq, { member: by, edits: named, text: `edited at ${seq}` }))
      else if (act === 'delete') log.push(said(seq, { member: by, deletes: named, text: '' }))
      else log.push(said(seq, { member: by, text: '', ...reaction(named, of % 2 ? '👍' : '🎉', act === 'take') }))
    }
    return log
  })

const steps = fc.array(
  fc.oneof(
    fc.record({ do: fc.constant('hear' as const) }),
    fc.record({ do: fc.constant('replay' as const), n: fc.nat() }),
    fc.record({ do: fc.constant('resume' as const), n: fc.nat() }),
    fc.record({ do: fc.constant('page' as const), before: fc.nat(), limit: fc.integer({ min: 1, max: 15 }), n: fc.nat() }),
  ),
  { maxLength: 60 },
)

describe('whoever follows the rule', () => {
  it('ends where the room is, by whatever mix of pages, replays, joins and events', () => {
    fc.assert(
      fc.property(logs, steps, fc.nat(), fc.nat(), (log, plan, joinedAt, newest) => {
        /** What the room tells of its history when it has heard so much. */
        const at = (head: number) => {
          const told = log.slice(0, head)
          const superseded = (edit: Message) => told.some((each) => each.seq > edit.seq && [each.edits, each.deletes].includes(edit.edits))
          const kept = told.map((each) => (each.edits && superseded(each) ? { ...each, text: '', deleted: true } : each))
          return amend(kept, told.filter((each) => each.deletes || each.edits || each.reaction))
        }
        const heard = (message: Message): Action => ({ type: 'message', room: 'r', message })
        const joined = (head: number, resumed: boolean, messages: Message[]): Joined => ({
          type: 'joined', room: 'r', epoch: 'e', head, resumed, messages, members: [], memberCount: 0, read: 0,
        })
        const first = joinedAt % (log.length + 1)
        let state: RoomState = reduce(emptyRoom('r'), joined(first, false, at(first).slice(-1 - (newest % 10))))
        for (const step of plan) {
          if (step.do === 'hear' && log[state.head]) state = reduce(state, heard(log[state.head]!))
          if (step.do === 'replay' && state.head) state = reduce(state, heard(log[step.n % state.head]!))
          if (step.do === 'resume' && position(state)) {
            const head = state.head + (step.n % (log.length - state.head + 1))
            state = reduce(state, joined(head, true, at(head).slice(state.head)))
          }
          if (step.do === 'page') {
            // It may have been read long before it comes, or tell of what is yet to be heard.
            const read = at(first + (step.n % (log.length - first + 1)))
            const before = step.before % (log.length + 2)
            const messages = read.filter((each) => !before || each.seq < before).slice(-step.limit)
            state = reduce(state, { type: 'page', run: state.run, epoch: 'e', before, limit: step.limit, messages })
          }
        }
        for (const message of log.slice(state.head)) state = reduce(state, heard(message))

        const whole = at(log.length).filter((each) => !each.deletes && !each.edits && !each.reaction)
        expect(state.hole).toBe(false)
        expect(state.head).toBe(log.length)
        expect(state.messages).toEqual(whole.filter((each) => each.seq >= state.from && each.seq <= state.to))
        if (state.complete) expect(state.from).toBe(1)
      }),
      { numRuns: 500 },
    )
  })
})
