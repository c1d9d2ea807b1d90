/** How many seconds are left until a moment, told once a second; 0 if it is past, or was near from the start. */
import { onWatcherCleanup, ref, watch, type Ref } from 'vue'

/** `until` is in milliseconds as `Date.now` counts them. A wait of less than `shortest` seconds is not counted down. */
export function useCountdown(until: () => number, shortest: number): Readonly<Ref<number>> {
  const left = ref(0)
  watch(
    until,
    (moment) => {
      const secondsLeft = () => Math.max(0, Math.ceil((moment - Date.now()) / 1000))
      left.value = secondsLeft() >= shortest ? secondsLeft() : 0
      if (!left.value) return
      const timer = setInterval(() => {
        left.value = secondsLeft()
        if (!left.value) clearInterval(timer)
      }, 1000)
      onWatcherCleanup(() => clearInterval(timer))
    },
    { immediate: true },
  )
  return left
}
