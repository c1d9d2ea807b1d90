/** The page's title: the room, and how many messages came while the page was not looked at. */
import { computed, ref, watch, watchEffect } from 'vue'
import type { Member } from '../protocol/frames.ts'
import type { RoomState } from '../timeline.ts'
import { number } from '../words/dates.ts'
import { useHidden } from './useHidden.ts'

export function useTitle(state: () => RoomState, me: () => Member | undefined) {
  const hidden = useHidden()
  /** The newest message when the page was looked at last. */
  const seen = ref(0)
  watch([hidden, () => state().room, () => state().joined], () => (seen.value = state().head), { flush: 'sync' })
  const unseen = computed(() =>
    hidden.value ? state().messages.filter((message) => message.seq > seen.value && message.member.id !== me()?.id).length : 0,
  )
  watchEffect(() => {
    document.title = `${unseen.value ? `(${number(unseen.value)}) ` : ''}${state().room} · Parlor`
  })
}
