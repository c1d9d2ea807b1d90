/**
 * Where the reader of a timeline looks. Only the rows in sight are drawn, and a few around them. Whoever reads the end
 * stays there; whoever reads older messages is moved by nothing, neither by new ones nor by pages that come above.
 */
import { useVirtualizer } from '@tanstack/vue-virtual'
import { computed, nextTick, onMounted, onScopeDispose, ref, watch, type Ref } from 'vue'
import { rowOf, type Row } from '../rows.ts'
import { hasNewer, hasOlder, type RoomState } from '../timeline.ts'
import { useHidden } from './useHidden.ts'

/** Nearer to the end than this, in pixels, a reader follows what is said. */
const AT_END = 48
/** Nearer than this to either end of what is loaded, the next page is asked for. */
const SOON = 600
/** Above the rows, for the note at the beginning: always there, so that it moves nothing. */
const TOP = 64
/** How many rows are drawn above and below those in sight. */
const AROUND = 15
/** Keys that scroll up. */
const UPWARDS = new Set(['ArrowUp', 'PageUp', 'Home'])
/** What a hand scrolls with. */
const HANDS = ['wheel', 'touchmove', 'keydown', 'pointerdown']

interface Reading {
  scroller: Readonly<Ref<HTMLElement | null>>
  rows(): readonly Row[]
  state(): RoomState
  loading(): boolean
  sit(seat: 'end' | 'older'): void
  lookAway(): void
  older(): void
  newer(): void
  newest(): Promise<void>
  /** Whether a link leads elsewhere than to the end. */
  linked: boolean
}

export function useTimelineScroll({ scroller, rows, state, loading, ...does }: Reading) {
  const hidden = useHidden()
  const atEnd = ref(!does.linked)
  /** The end is not in sight, and a way back is of use. */
  const farFromEnd = ref(false)
  /** As it was when it last scrolled. */
  let last = { top: 0, height: 0, from: 0 }
  /** A link is being followed: what would be loaded above moves the place that it leads to. */
  let leading = does.linked
  /** The reader has turned, dragged or pressed upwards since the end was in sight. */
  let byHand = false

  const virtualizer = useVirtualizer(
    computed(() => {
      const drawn = rows()
      return {
        count: drawn.length,
        getScrollElement: () => scroller.value,
        getItemKey: (n: number) => drawn[n]?.key ?? n,
        estimateSize: (n: number) => height(drawn[n]),
        overscan: AROUND,
        paddingStart: TOP,
        anchorTo: 'end' as const,
        scrollEndThreshold: AT_END,
      }
    }),
  )
  /** Elements whose size is known, and watched from then on. */
  const measured = new WeakSet<Element>()

  function follows(): boolean {
    return atEnd.value && !hidden.value && !hasNewer(state())
  }

  function isAtEnd(box: HTMLElement): boolean {
    return box.scrollHeight - box.scrollTop - box.clientHeight < AT_END
  }

  function onScroll() {
    const box = scroller.value
    if (!box) return
    const now = { top: box.scrollTop, height: box.scrollHeight, from: state().from }
    // What grows below does not take me from the end, nor does what goes above, though it lifts all. I do, when I scroll up.
    const lifted = now.height < last.height || now.from !== last.from
    if (isAtEnd(box)) {
      atEnd.value = true
      byHand = false
    } else if (now.top < last.top - 1 && (byHand || !lifted)) atEnd.value = false
    farFromEnd.value = now.height - now.top > 2 * box.clientHeight
    last = now
    loadMore()
  }

  /** Tells what the reader's hand does from what the timeline does by itself. */
  function onHand(event: Event) {
    if (event instanceof WheelEvent) byHand ||= event.deltaY < 0
    else if (event instanceof KeyboardEvent) byHand ||= UPWARDS.has(event.key) || (event.key === ' ' && event.shiftKey)
    // Pressed beside the rows: the scrollbar.
    else byHand ||= event.type === 'touchmove' || event.target === scroller.value
  }

  function loadMore() {
    const box = scroller.value
    if (!box || loading() || leading) return
    if (hasOlder(state()) && box.scrollTop < SOON) does.older()
    else if (hasNewer(state()) && box.scrollHeight - box.scrollTop - box.clientHeight < SOON) does.newer()
  }

  async function toEnd() {
    if (hasNewer(state())) await does.newest()
    atEnd.value = true
    await nextTick()
    virtualizer.value.scrollToEnd()
  }

  /** Brings a message into the middle, once what is around it is loaded. Whether it is there. */
  async function show(seq: number, loaded: Promise<boolean>): Promise<boolean> {
    leading = true
    const there = await loaded
    await nextTick()
    const row = there ? rowOf(rows(), seq) : -1
    if (row >= 0) {
      atEnd.value = false
      virtualizer.value.scrollToIndex(row, { align: 'center' })
    }
    requestAnimationFrame(() => {
      leading = false
      if (row >= 0) atEnd.value = !!scroller.value && isAtEnd(scroller.value)
      loadMore()
    })
    return row >= 0
  }

  function measure(element: Element | null) {
    if (element && measured.has(element)) return
    if (element) measured.add(element)
    virtualizer.value.measureElement(element)
  }

  // At once, before it could seem that I have followed what came while I looked away.
  watch(
    hidden,
    () => {
      if (hidden.value) does.lookAway()
      else if (scroller.value) atEnd.value = isAtEnd(scroller.value)
    },
    { flush: 'sync' },
  )
  watch(follows, (follow) => does.sit(follow ? 'end' : 'older'), { immediate: true })
  // Whatever the rows become: the virtualizer itself follows only what it takes for an append.
  watch(rows, () => follows() && virtualizer.value.scrollToEnd(), { flush: 'post' })
  watch(
    () => state().pending.length,
    (now, before) => now > before && void toEnd(),
  )
  // A page may bring nothing to draw, and then nothing scrolls.
  watch(loading, async (now) => {
    await nextTick()
    if (!now) loadMore()
  })

  // The room for the rows shrinks for the banner, the box and a phone's keyboard.
  const resized = new ResizeObserver(() => follows() && virtualizer.value.scrollToEnd())
  onMounted(() => {
    if (scroller.value) resized.observe(scroller.value)
    for (const hand of HANDS) scroller.value?.addEventListener(hand, onHand, { passive: true })
    if (atEnd.value) virtualizer.value.scrollToEnd()
  })
  onScopeDispose(() => resized.disconnect())

  return {
    atEnd,
    farFromEnd,
    /** The rows to draw, and how far down the first of them is. */
    drawn: computed(() => virtualizer.value.getVirtualItems()),
    offset: computed(() => virtualizer.value.getVirtualItems()[0]?.start ?? 0),
    total: computed(() => virtualizer.value.getTotalSize()),
    measure,
    onScroll,
    toEnd,
    show,
  }
}

/** About how high a row will be, in pixels, until it is drawn. */
function height(row: Row | undefined): number {
  if (row?.kind === 'day') return 64
  if (row?.kind === 'line' || row?.kind === 'notice') return 28
  if (!row) return 0
  const text = row.kind === 'message' ? row.message.text : row.pending.text
  const lines = text.split('\n').reduce((sum, line) => sum + 1 + Math.floor(line.length / 90), 0)
  return 6 + 24 * lines + (row.startsGroup ? 36 : 0)
}
