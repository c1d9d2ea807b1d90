/** The page's title: the room, how much of it is unread, and how much is said to me elsewhere. */
import { computed, watchEffect } from 'vue'
import type { RoomEntry } from '../rooms.ts'
import { number } from '../words/dates.ts'

export function useTitle(room: () => string, rooms: () => readonly RoomEntry[]) {
  const count = computed(() => rooms().reduce((sum, each) => sum + (each.room === room() ? each.unread : each.mentions), 0))
  watchEffect(() => {
    document.title = `${count.value ? `(${number(count.value)}) ` : ''}${room()} · Parlor`
  })
}
