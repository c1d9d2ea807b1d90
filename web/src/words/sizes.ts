/** Sizes of files as the reader writes them: "48 kB", "1,5 MB". */
import { computed } from 'vue'
import { formats } from './index.ts'

const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte'] as const

const formatters = computed(() =>
  UNITS.map((unit) => new Intl.NumberFormat(formats.value, { style: 'unit', unit, unitDisplay: unit === 'byte' ? 'long' : 'short', maximumSignificantDigits: 3 })),
)

export function size(bytes: number): string {
  // What rounds up to a thousand of one unit is one of the next.
  let power = 0
  while (power < UNITS.length - 1 && bytes / 1000 ** power >= 999.5) power += 1
  return formatters.value[power]!.format(bytes / 1000 ** power)
}
