/** What I have begun to write in a room. It outlives a reload and a look into another room, and ends with the tab. */
import { ref, watch, type Ref } from 'vue'

export function useDraft(room: () => string): Ref<string> {
  const key = (of: string) => `parlor.draft.${of}`
  const text = ref('')
  watch(room, (name) => (text.value = sessionStorage.getItem(key(name)) ?? ''), { immediate: true, flush: 'sync' })
  watch(text, (now) => (now ? sessionStorage.setItem(key(room()), now) : sessionStorage.removeItem(key(room()))), { flush: 'sync' })
  return text
}
