import { describe, expect, it } from 'vitest'
import { noted, type Notice } from '../src/notices.ts'
import type { Member } from '../src/protocol/frames.ts'

const roster = (names: string) => new Map([...names].map((id): [string, Member] => [id, { id, name: id, avatar: '', kind: 'guest' }]))
/** What the notices say after the roster went through these, each `after` the message with that number. */
const told = (...steps: [roster: string, after: number][]) =>
  steps
    .slice(1)
    .reduce<readonly Notice[]>((notices, [now, after], n) => noted(notices, roster(steps[n]![0]), roster(now), after), [])
    .map(({ after, joined, left }) => `${after} +${joined.map((m) => m.id).join('')} -${left.map((m) => m.id).join('')}`)

describe('notices', () => {
  it('tell in one what happened between two messages', () => {
    expect(told(['a', 1], ['ab', 1], ['abc', 1], ['bc', 1], ['bcd', 2])).toEqual(['1 +bc -a', '2 +d -'])
  })
  it('do not tell of who went and came back, or came and went, in between', () => {
    expect(told(['ab', 1], ['a', 1], ['ab', 1])).toEqual([])
    expect(told(['a', 1], ['ab', 1], ['a', 1], ['ac', 1])).toEqual(['1 +c -'])
  })
  it('are not kept without end, and are none of a crowd', () => {
    const steps = Array.from({ length: 300 }, (_, n): [string, number] => [n % 2 ? 'ab' : 'a', n])
    expect(told(...steps)).toHaveLength(100)
    const crowd = roster(String.fromCodePoint(...Array.from({ length: 201 }, (_, n) => 0x4e00 + n)))
    expect(noted([], crowd, roster('a'), 1)).toEqual([])
  })
})
