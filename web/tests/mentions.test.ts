import { expect, it } from 'vitest'
import { decode, type Body } from '../src/protocol/frames.ts'
import { emptyRoom, reduce, type Action } from '../src/timeline.ts'
import { mentionsSince } from '../src/unread.ts'

const said = (seq: number, mentions: string[], by = 'm_bob') => ({ room: 'r', epoch: 'e', seq, id: `x${seq}`, text: 't', member: { id: by }, mentions })
const heard = (frame: object) => decode(JSON.stringify(frame)).body as Body & Action
const joined = (resumed: boolean, ...messages: object[]) => heard({ joined: { room: 'r', epoch: 'e', head: messages.length, resumed, messages } })

it('a mention is what others say to me from now on, whether I hear it or catch up on it', () => {
  const start = { ...emptyRoom('r'), me: 'm_ada' }
  const steps: [Action, number[]][] = [
    [joined(false, said(1, ['m_ada'])), []],
    [heard({ message: said(2, ['m_bob', 'm_ada']) }), [2]],
    [heard({ message: said(2, ['m_bob', 'm_ada']) }), []],
    [heard({ message: said(3, ['m_bob']) }), []],
    [heard({ message: said(4, ['m_ada'], 'm_ada') }), []],
    [heard({ joined: { room: 'r', epoch: 'e', head: 6, resumed: true, messages: [said(5, ['m_ada']), said(6, ['m_ada'])] } }), [5, 6]],
  ]
  let state = start
  for (const [action, told] of steps) {
    const next = reduce(state, action)
    expect(mentionsSince(state, next).map(({ seq }) => seq)).toEqual(told)
    state = next
  }
})
