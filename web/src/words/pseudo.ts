/**
 * English in disguise, ⟦Ṡḗẗẗīńḡş⟧: what shows without brackets was never translated, and what is cut off has no room
 * for a longer language. `en-XA` reads from left to right, `ar-XB` from right to left.
 */
import { en, type Words } from './en.ts'

const DISGUISE: Record<string, string> = {
  a: 'á', c: 'ç', d: 'ḓ', e: 'é', g: 'ğ', i: 'í', l: 'ļ', n: 'ñ', o: 'ö', r: 'ŕ', s: 'š', t: 'ţ', u: 'ú', y: 'ý', S: 'Š', R: 'Ŕ', N: 'Ñ',
}

function disguised(word: string): string {
  return `⟦${word.replace(/[acdegilnorstuySRN]/g, (letter) => DISGUISE[letter]!)}⟧`
}

export const pseudo = Object.fromEntries(
  Object.entries(en).map(([key, word]) => [
    key,
    typeof word === 'string' ? disguised(word) : (...args: never[]) => disguised((word as (...args: never[]) => string)(...args)),
  ]),
) as Words
