/**
 * What I do to messages: answer, change, delete, react, link. One object for the page, which its parts inject.
 *
 * A change that is refused is said once, in words, until I do the next thing.
 */
import { copy } from '../clipboard.ts'
import { inject, nextTick, provide, ref, shallowRef, watch, type InjectionKey } from 'vue'
import type { Failure, Message, MessageRef } from '../protocol/frames.ts'
import { go, pathOf } from '../router.ts'
import { find } from '../changes.ts'
import { fetchFile } from './fileRequests.ts'
import type { ChatApi } from './useChat.ts'

/** What the box is for, if not for something new. */
export interface Doing {
  what: 'reply' | 'edit'
  message: Message
}

/** What is asked in a dialog before it is done. */
export interface Asking {
  what: 'delete' | 'react'
  message: Message
}

export function useActions(chat: ChatApi) {
  const doing = shallowRef<Doing>()
  const asking = shallowRef<Asking>()
  /** Why the last change was not made; empty: it was. */
  const refused = ref('')
  /** The message whose actions are shown, by number. 0: none. */
  const near = ref(0)
  /** Where the focus goes when a dialog is over. */
  let row: HTMLElement | null | undefined

  watch(
    () => chat.state.value.room,
    () => {
      doing.value = asking.value = undefined
      refused.value = ''
    },
  )

  /** Whether it was done. */
  async function told(change: Promise<Failure | undefined>): Promise<boolean> {
    refused.value = ''
    refused.value = (await change)?.message ?? ''
    return !refused.value
  }

  function begin(what: Doing['what'], message: Message) {
    refused.value = ''
    doing.value = { what, message }
    document.querySelector<HTMLElement>('#message-box')?.focus()
  }

  function mine(message: Message): boolean {
    return message.member.id !== '' && message.member.id === chat.me.value?.id
  }

  return {
    doing,
    asking,
    refused,
    near,
    mine,
    reply: (message: Message) => begin('reply', message),
    edit: (message: Message) => begin('edit', message),
    /** Changes what I said last. Whether there is something. */
    editLast(): boolean {
      const last = chat.state.value.messages.findLast((message) => mine(message) && !message.deleted)
      if (last) begin('edit', last)
      return !!last
    },
    leave() {
      doing.value = undefined
      refused.value = ''
    },
    ask(what: Asking['what'], message: Message) {
      row = document.activeElement?.closest<HTMLElement>('.message')
      asking.value = { what, message }
    },
    /** The dialog is over. Its button may be gone with the message. */
    async answered() {
      asking.value = undefined
      await nextTick()
      const next = row?.isConnected ? row : document.querySelector<HTMLElement>('#message-box')
      next?.focus({ preventScroll: true })
    },
    react: (message: Message, emoji: string) => told(chat.react(message, emoji)),
    remove: (message: Message) => told(chat.remove(message)),
    change: (message: Message, text: string, mentions: string[]) => told(chat.edit(message, text, mentions)),
    /** Brings the message into sight, wherever it is. */
    show: (message: MessageRef) => go(chat.state.value.room, message),
    copyLink: (message: Message) => copy(location.origin + pathOf(chat.state.value.room, message)),
    fetchFile: (id: string, signal?: AbortSignal) => fetchFile(chat.state.value.room, id, signal),
    /** What `ref` names, if it is loaded. */
    known(ref: MessageRef): Message | undefined {
      const { messages } = chat.state.value
      const message = messages[find(messages, ref.seq)]
      return message?.id === ref.id ? message : undefined
    },
    /** What a member is called, if the page has heard of them. */
    nameOf(id: string): string | undefined {
      const { members, messages } = chat.state.value
      return members.get(id)?.name ?? messages.findLast(({ member }) => member.id === id)?.member.name
    },
  }
}

export type Actions = ReturnType<typeof useActions>

const KEY: InjectionKey<Actions> = Symbol('actions')

export function provideActions(chat: ChatApi): Actions {
  const actions = useActions(chat)
  provide(KEY, actions)
  return actions
}

export function injectActions(): Actions {
  const actions = inject(KEY)
  if (!actions) throw new Error('a part of the page that acts on messages stands outside of the page')
  return actions
}
