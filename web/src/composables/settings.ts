/** What a reader chose for this browser. Each choice is kept in localStorage and holds in all tabs at once. */
import { customRef, type Ref } from 'vue'

const PREFIX = 'parlor.'

function choice<T extends string>(name: string, values: readonly [T, ...T[]]): Ref<T> {
  const key = PREFIX + name
  const known = (value: string | null) => values.find((each) => each === value) ?? values[0]
  return customRef((track, trigger) => {
    window.addEventListener('storage', (event) => event.key === key && trigger())
    return {
      get() {
        track()
        return known(localStorage.getItem(key))
      },
      set(value) {
        localStorage.setItem(key, value)
        trigger()
      },
    }
  })
}

/** `public/theme.js` reads it before the first paint. */
export const theme = choice('theme', ['system', 'light', 'dark'])
export const language = choice('language', ['system', 'en', 'de'])
/** Whether the timeline says who joins and leaves. */
export const notices = choice('notices', ['shown', 'hidden'])
/** Whether a mention is told on the desktop. */
export const notify = choice('notify', ['off', 'on'])
