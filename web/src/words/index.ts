/**
 * The words of the page in its reader's language: `t('send')`, `t('memberCount', 3)`. English comes with the page, the
 * other catalogues when they are needed.
 */
import { shallowRef } from 'vue'
import { en, type Words } from './en.ts'

interface Language {
  /** Its own name, for the choice; none for those that are only for tests. */
  name?: string
  words: () => Promise<Words>
  rtl?: boolean
  /** Whose dates and numbers it takes, if it has none. */
  formats?: string
}

const pseudo = async () => (await import('./pseudo.ts')).pseudo

export const LANGUAGES: Readonly<Record<string, Language>> = {
  en: { name: 'English', words: async () => en },
  de: { name: 'Deutsch', words: async () => (await import('./de.ts')).de },
  'en-XA': { words: pseudo, formats: 'en' },
  'ar-XB': { words: pseudo, formats: 'ar', rtl: true },
}

const words = shallowRef(en)
/** Whose dates and numbers are shown, as `Intl` calls it. */
export const formats = shallowRef<string>('en')

type Word = keyof Words
type Parts<W extends Word> = Words[W] extends (...parts: infer P) => string ? P : []

export function t<W extends Word>(word: W, ...parts: Parts<W>): string {
  const found = words.value[word] as string | ((...parts: unknown[]) => string)
  return typeof found === 'string' ? found : found(...parts)
}

/** A name within a sentence. One of another direction must not turn the sentence around: as `bdi` does, within a text. */
export const isolated = (name: string) => `\u2068${name}\u2069`

/** The best of ours for what a reader prefers: `de-AT` is `de`. English if nothing fits. */
export function bestLanguage(preferred: readonly string[]): string {
  for (const tag of preferred) {
    for (const own of [tag, tag.split('-')[0]!]) if (Object.hasOwn(LANGUAGES, own)) return own
  }
  return 'en'
}

/** Turns the page to `language`, one of ours. The reader's own region says how dates look, if it is of that language. */
export async function speak(language: string) {
  const { words: load, formats: of, rtl } = LANGUAGES[language]!
  words.value = await load()
  formats.value = of ?? navigator.languages.find((tag) => tag.split('-')[0] === language) ?? language
  document.documentElement.lang = language
  document.documentElement.dir = rtl ? 'rtl' : 'ltr'
}
