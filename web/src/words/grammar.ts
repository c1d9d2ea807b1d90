/** What languages do to words: numbers and lists in a sentence. The rules are the browser's (`Intl`). */

/** A word for each plural form that a language has. `#` is where the number goes. */
type Forms = { [form in Intl.LDMLPluralRule]?: string } & { other: string }

/** Makes functions that put a number into the right form. */
export function counted(language: string): (forms: Forms) => (count: number) => string {
  const rules = new Intl.PluralRules(language)
  const digits = new Intl.NumberFormat(language)
  return (forms) => (count) => (forms[rules.select(count)] ?? forms.other).replace('#', digits.format(count))
}

/** "Ann, Bob and 3 others". */
export function listed(language: string, names: readonly string[], others: number, words: (count: number) => string): string {
  return new Intl.ListFormat(language).format(others ? [...names, words(others)] : names)
}
