/** Moments as the reader writes them. Formatters are costly to make and are made once for each language. */
import { computed } from 'vue'
import { formats } from './index.ts'

const DAY_MS = 86_400_000

const formatters = computed(() => ({
  clock: new Intl.DateTimeFormat(formats.value, { hour: 'numeric', minute: '2-digit' }),
  full: new Intl.DateTimeFormat(formats.value, { dateStyle: 'full', timeStyle: 'medium' }),
  day: new Intl.DateTimeFormat(formats.value, { weekday: 'long', day: 'numeric', month: 'long' }),
  dayOfYear: new Intl.DateTimeFormat(formats.value, { day: 'numeric', month: 'long', year: 'numeric' }),
  near: new Intl.RelativeTimeFormat(formats.value, { numeric: 'auto' }),
  number: new Intl.NumberFormat(formats.value),
}))

export const clock = (at: string | Date) => formatters.value.clock.format(new Date(at))
export const fullDate = (at: string | Date) => formatters.value.full.format(new Date(at))
export const number = (value: number) => formatters.value.number.format(value)

/** "Today", "Yesterday", a weekday with its date, or a date of another year. */
export function dayName(day: Date, now = new Date()): string {
  const { near, day: thisYear, dayOfYear } = formatters.value
  const midnight = (date: Date) => new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime()
  // Rounded, since a day that changes the clock has 23 or 25 hours.
  const daysAgo = Math.round((midnight(now) - midnight(day)) / DAY_MS)
  if (daysAgo === 0 || daysAgo === 1) return capital(near.format(-daysAgo, 'day'))
  return day.getFullYear() === now.getFullYear() ? thisYear.format(day) : dayOfYear.format(day)
}

function capital(word: string): string {
  return word.charAt(0).toLocaleUpperCase(formats.value) + word.slice(1)
}
