/** The arrow keys among the rows of the timeline, and among the buttons of a toolbar. */

/** From the region to its lowest row in sight, and from row to row. */
export function amongRows(event: KeyboardEvent) {
  const region = event.currentTarget as HTMLElement
  const target = event.target as HTMLElement
  const step = { ArrowUp: -1, ArrowDown: 1 }[event.key]
  if (!step || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return
  const rows = [...region.querySelectorAll<HTMLElement>('.message')]
  const here = target.closest<HTMLElement>('.message')
  const bottom = region.getBoundingClientRect().bottom
  const next = here ? rows[rows.indexOf(here) + step] : step < 0 && rows.findLast((row) => row.getBoundingClientRect().top < bottom)
  if (!next) return
  event.preventDefault()
  next.focus()
}

/** One button of the toolbar can be tabbed to; the arrows lead to the others, in the direction of reading. */
export function amongButtons(event: KeyboardEvent) {
  const bar = event.currentTarget as HTMLElement
  const buttons = [...bar.querySelectorAll('button')]
  const here = buttons.indexOf(document.activeElement as HTMLButtonElement)
  const forward = getComputedStyle(bar).direction === 'rtl' ? 'ArrowLeft' : 'ArrowRight'
  const backward = forward === 'ArrowLeft' ? 'ArrowRight' : 'ArrowLeft'
  const to = { [forward]: here + 1, [backward]: here - 1, Home: 0, End: -1 }[event.key]
  if (here < 0 || to === undefined) return
  event.preventDefault()
  event.stopPropagation()
  const next = buttons.at(to % buttons.length)!
  for (const button of buttons) button.tabIndex = button === next ? 0 : -1
  next.focus()
}
