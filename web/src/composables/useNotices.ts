/** The notices of the room that is open: who came and who went since I opened it. */
import { computed, shallowRef, watch } from 'vue'
import { noted, type Notice } from '../notices.ts'
import type { RoomState } from '../timeline.ts'
import { notices as shown } from './settings.ts'

const NONE: readonly Notice[] = []

export function useNotices(state: () => RoomState) {
  const kept = shallowRef(NONE)
  watch(state, (now, before) => {
    if (now.room !== before.room || !now.joined || !before.joined) kept.value = NONE
    else if (now.members !== before.members) kept.value = noted(kept.value, before.members, now.members, now.head)
  })
  return computed(() => (shown.value === 'shown' ? kept.value : NONE))
}
