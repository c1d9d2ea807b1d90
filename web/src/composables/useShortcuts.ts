/** The keys that work anywhere on the page. */
import { onScopeDispose } from 'vue'

interface Shortcuts {
  help(): void
  rooms(): void
}

/** The regions of the page in the order in which F6 goes through them. */
const REGIONS = ['.rooms a', '.members', '.timeline__scroll', '#message-box']

export function useShortcuts({ help, rooms }: Shortcuts) {
  const onKey = (event: KeyboardEvent) => {
    if (event.defaultPrevented || document.querySelector('dialog[open]')) return
    const typing = event.target instanceof Element && event.target.matches('textarea, input, select')
    if (event.key === 'F6') goOn(event.shiftKey ? -1 : 1)
    else if (event.key.toLowerCase() === 'k' && (event.ctrlKey || event.metaKey) && !event.shiftKey && !event.altKey) rooms()
    else if (event.key === '?' && !typing) help()
    else return
    event.preventDefault()
  }
  window.addEventListener('keydown', onKey)
  onScopeDispose(() => window.removeEventListener('keydown', onKey))
}

function goOn(step: 1 | -1) {
  const regions = REGIONS.flatMap((selector) => [...document.querySelectorAll<HTMLElement>(selector)].slice(0, 1)).filter(isSeen)
  const here = regions.findIndex((region) => (region.closest('nav') ?? region).contains(document.activeElement))
  const next = here < 0 && step < 0 ? regions.length - 1 : (here + step + regions.length) % regions.length
  regions[next]?.focus()
}

function isSeen(element: HTMLElement): boolean {
  return element.checkVisibility()
}
