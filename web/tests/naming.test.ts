import { describe, expect, it } from 'vitest'
import { askedAt, mentioned, offered } from '../src/mentions.ts'

const member = (id: string, name: string) => ({ id, name, avatar: '', kind: 'guest' })
const ann = member('m_1', 'Ann')
const anna = member('m_2', 'Anna Lee')
const zoe = member('m_3', 'Zoë')
const other = member('m_4', 'Ann')
const all = [ann, anna, zoe]
const ids = (members: { id: string }[]) => members.map(({ id }) => id)

describe('what is asked for after an @', () => {
  const cases: [string, string | undefined][] = [
    ['@', ''],
    ['hello @an', 'an'],
    ['(@Zoë', 'Zoë'],
    ['\n@a', 'a'],
    ['mail@an', undefined],
    ['@an now', undefined],
    ['', undefined],
  ]
  it.each(cases)('%j', (text, name) => expect(askedAt(text, text.length)?.name).toBe(name))

  it('what stands behind the caret does not count', () => {
    expect(askedAt('say @an to', 6)).toEqual({ at: 4, name: 'a' })
  })
})

it('whoever has a word that begins so is offered, but not I', () => {
  expect(ids(offered(all, 'AN', ''))).toEqual(['m_1', 'm_2'])
  expect(ids(offered(all, 'le', ''))).toEqual(['m_2'])
  expect(ids(offered(all, '', 'm_1'))).toEqual(['m_2', 'm_3'])
  expect(offered(all, 'nn', '')).toEqual([])
})

describe('whom a text speaks to', () => {
  const cases: [string, string[]][] = [
    ['@Ann, look', ['m_1']],
    ['@Anna Lee and @Zoë!', ['m_2', 'm_3']],
    ['@Anna', []],
    ['me@Ann', []],
    ['Ann', []],
  ]
  it.each(cases)('%s', (text, spokenTo) => expect(mentioned(text, all, new Set())).toEqual(spokenTo))

  it('of several with one name, who was chosen', () => {
    expect(mentioned('@Ann', [ann, other], new Set())).toEqual([])
    expect(mentioned('@Ann', [ann, other], new Set(['m_4']))).toEqual(['m_4'])
  })
})
