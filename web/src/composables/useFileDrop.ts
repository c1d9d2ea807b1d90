/** Files that are dropped anywhere on the page, or pasted. Returns whether some are held above it. */
import { onScopeDispose, ref, type Ref } from 'vue'

export function useFileDrop(take: (files: readonly File[]) => void): Ref<boolean> {
  const held = ref(false)
  const hasFiles = (event: DragEvent) => event.dataTransfer?.types.includes('Files') ?? false
  const over = new AbortController()
  const on = <K extends 'dragover' | 'dragleave' | 'drop' | 'paste'>(name: K, hear: (event: WindowEventMap[K]) => void) =>
    window.addEventListener(name, hear, { signal: over.signal })

  on('dragover', (event) => {
    if (!hasFiles(event)) return
    event.preventDefault()
    held.value = true
  })
  on('dragleave', (event) => {
    // Into a part of the page is not out of it.
    if (!event.relatedTarget) held.value = false
  })
  on('drop', (event) => {
    held.value = false
    if (!hasFiles(event)) return
    // Or the browser would open the file instead of this page.
    event.preventDefault()
    take([...event.dataTransfer!.files])
  })
  on('paste', (event) => {
    const brought = event.clipboardData
    // A table or a page brings a picture of itself too: what is wanted is its text.
    if (!brought?.files.length || brought.types.includes('text/plain')) return
    event.preventDefault()
    take([...brought.files])
  })
  onScopeDispose(() => over.abort())
  return held
}
