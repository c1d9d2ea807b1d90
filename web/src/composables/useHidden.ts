/** Whether the page is out of sight: in a tab behind another, or minimised. */
import { onScopeDispose, ref, type Ref } from 'vue'

export function useHidden(): Readonly<Ref<boolean>> {
  const hidden = ref(document.visibilityState === 'hidden')
  const look = () => (hidden.value = document.visibilityState === 'hidden')
  document.addEventListener('visibilitychange', look)
  onScopeDispose(() => document.removeEventListener('visibilitychange', look))
  return hidden
}
