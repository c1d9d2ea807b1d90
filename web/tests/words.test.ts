import { describe, expect, it } from 'vitest'
import { dayName } from '../src/words/dates.ts'
import { de } from '../src/words/de.ts'
import { en, type Words } from '../src/words/en.ts'
import { bestLanguage, LANGUAGES, t } from '../src/words/index.ts'
import { pseudo } from '../src/words/pseudo.ts'

describe('the catalogues', () => {
  const parts: never[] = [['Ada', 'Bob'], 3] as never[]
  const spoken = (words: Words, word: keyof Words) => {
    const found = words[word] as string | ((...parts: unknown[]) => string)
    return typeof found === 'string' ? found : found.length === 1 ? found(3) : found(...(word.startsWith('mentioned') || word === 'bytesOf' ? ['a', 'b'] : parts))
  }

  it('have a word of their own for all that English says', () => {
    const same = (Object.keys(en) as (keyof Words)[]).filter((word) => !spoken(de, word) || spoken(de, word) === spoken(en, word))
    expect(same.filter((word) => !['code', 'codeIn', 'kindVideo'].includes(word))).toEqual([])
  })

  it('count as their language does', () => {
    expect([en.memberCount(1), en.memberCount(1200)]).toEqual(['1 member', '1,200 members'])
    expect([de.memberCount(1), de.memberCount(1200)]).toEqual(['1 Mitglied', '1.200 Mitglieder'])
    expect(en.cameIn(['Ann', 'Bob'], 3)).toBe('Ann, Bob, and 3 others joined')
    expect([de.cameIn(['Ann'], 0), de.wentOut(['Ann', 'Bob'], 3)]).toEqual(['Ann ist beigetreten', 'Ann, Bob und 3 weitere sind gegangen'])
  })

  it('show in disguise what was never translated', () => {
    expect([pseudo.send, pseudo.memberCount(2)]).toEqual(['⟦Šéñḓ⟧', '⟦2 mémbéŕš⟧'])
    expect(t('memberCount', 2)).toBe('2 members')
  })

  it('are chosen by what a reader prefers', () => {
    expect([['de-AT', 'en'], ['fr', 'de'], ['fr'], [], ['toString', '__proto__']].map(bestLanguage)).toEqual(['de', 'de', 'en', 'en', 'en'])
    expect(Object.keys(LANGUAGES).map((tag) => bestLanguage([tag]))).toEqual(Object.keys(LANGUAGES))
  })
})

it('days have the name that a person would give them', () => {
  const now = new Date(2026, 2, 29, 23, 30)
  const days = [new Date(2026, 2, 29, 0, 1), new Date(2026, 2, 28, 23, 59), new Date(2026, 2, 27), new Date(2025, 11, 31)]
  expect(days.map((day) => dayName(day, now))).toEqual(['Today', 'Yesterday', 'Friday, March 27', 'December 31, 2025'])
})
