/** Completes names after an @ while I write: a list under the keyboard's control, whose focus stays in the box. */
import { computed, nextTick, ref, watch, type Ref } from 'vue'
import { askedAt, mentioned, offered } from '../mentions.ts'
import type { Member } from '../protocol/frames.ts'

interface Writing {
  box: Readonly<Ref<HTMLTextAreaElement | null>>
  text: Ref<string>
  members(): readonly Member[]
  me(): string
}

export function useMentions({ box, text, members, me }: Writing) {
  const caret = ref(0)
  /** Where an @ is of which I want to hear no more. */
  const left = ref(-1)
  const active = ref(0)
  const chosen = new Set<string>()
  const asked = computed(() => askedAt(text.value, caret.value))
  const options = computed(() => (asked.value && asked.value.at !== left.value ? offered(members(), asked.value.name, me()) : []))
  watch(options, () => (active.value = 0))
  watch(asked, (now) => now?.at !== left.value && (left.value = -1))

  function choose(member: Member | undefined) {
    if (!member || !asked.value) return
    chosen.add(member.id)
    const before = `${text.value.slice(0, asked.value.at)}@${member.name} `
    text.value = before + text.value.slice(caret.value)
    caret.value = before.length
    void nextTick(() => {
      box.value?.focus()
      box.value?.setSelectionRange(before.length, before.length)
    })
  }

  /** Whether the key was for the list. */
  function onKey(event: KeyboardEvent): boolean {
    if (!options.value.length || event.isComposing) return false
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key]
    if (step) active.value = (active.value + step + options.value.length) % options.value.length
    else if ((event.key === 'Enter' && !event.shiftKey) || event.key === 'Tab') choose(options.value[active.value])
    else if (event.key === 'Escape') left.value = asked.value!.at
    else return false
    event.preventDefault()
    event.stopPropagation()
    return true
  }

  return {
    options,
    active,
    choose,
    onKey,
    /** To be called when the caret may have moved. */
    look: () => (caret.value = box.value?.selectionStart ?? 0),
    /** Whom what is written speaks to, by id. */
    spokenTo: () => mentioned(text.value, members(), chosen),
    /** Begins anew: with whom a message speaks to already. */
    forget(but: readonly string[] = []) {
      chosen.clear()
      for (const id of but) chosen.add(id)
    },
  }
}
