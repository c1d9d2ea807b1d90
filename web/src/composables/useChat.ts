/**
 * The chat as components see it. What happens is `chat.ts`'s; this draws it, at most once for each frame of the screen.
 */
import { computed, onScopeDispose, ref, shallowRef } from 'vue'
import { Chat } from '../chat.ts'
import type { Failure, Message, MessageRef } from '../protocol/frames.ts'
import type { Extras } from '../timeline.ts'
import { browserEnv, oncePerFrame, onWake } from './browserEnv.ts'

/** `mentioned` is called with what is said to me in any of my rooms, open or not. */
export function useChat(mentioned: (room: string, message: Message) => void) {
  const chat = new Chat(browserEnv(), oncePerFrame(draw), mentioned)
  const { connection, paging, sending } = chat
  const state = shallowRef(chat.state)
  const rooms = shallowRef(chat.rooms)
  const me = shallowRef(chat.me)
  const status = shallowRef(chat.status)
  const typing = shallowRef(chat.typing.members)
  const maxTextBytes = ref(chat.maxTextBytes)
  const maxAttachmentBytes = ref(chat.maxAttachmentBytes)
  const webBuild = ref(chat.webBuild)
  const loading = ref(false)

  function draw() {
    state.value = chat.state
    rooms.value = chat.rooms
    me.value = chat.me
    status.value = chat.status
    typing.value = chat.typing.members
    maxTextBytes.value = chat.maxTextBytes
    maxAttachmentBytes.value = chat.maxAttachmentBytes
    webBuild.value = chat.webBuild
    loading.value = paging.loading
  }

  /** Changes a message of the open room. Nothing: it is done. */
  function change(message: MessageRef, ask: 'edit' | 'delete' | 'react', more: object): Promise<Failure | undefined> {
    const { room } = state.value
    const ref = { seq: message.seq, id: message.id }
    return sending.change((client_id) => ({ [ask]: { room, client_id, message: ref, ...more } }))
  }

  const stopListening = onWake({ wake: connection.wake, offline: connection.goneOffline, tokenCame: connection.tokenCame })
  onScopeDispose(() => {
    stopListening()
    connection.leave()
  })
  connection.dialNow()

  return {
    /** The open room. */
    state,
    /** My rooms by name, with what is unread in them. */
    rooms,
    me,
    status,
    maxTextBytes,
    /** 0: files cannot be attached. */
    maxAttachmentBytes,
    /** Which web client the gateway serves; empty: it does not say. */
    webBuild,
    /** Whether a page of history is on its way. */
    loading,
    /** Who is writing in the open room. */
    typing,
    members: computed(() => [...state.value.members.values()].sort((a, b) => a.name.localeCompare(b.name))),
    openRoom(room: string) {
      chat.openRoom(room)
      draw()
    },
    say: (text: string, extras: Extras = {}) => sending.say(chat.open, text, extras),
    retry(clientId: string) {
      chat.act(chat.open, { type: 'retry', clientId })
      void sending.run()
    },
    discard: (clientId: string) => chat.act(chat.open, { type: 'discard', clientId }),
    edit: (message: MessageRef, text: string, mentions: string[] = []) => change(message, 'edit', { text, mentions }),
    remove: (message: MessageRef) => change(message, 'delete', {}),
    /** Puts my reaction, or takes it back if it is there. */
    react: (message: Message, emoji: string) =>
      change(message, 'react', { emoji, remove: message.reactions.some((each) => each.emoji === emoji && each.members.includes(chat.me?.id ?? '')) }),
    /** I see the newest message, or look at older ones. */
    sit: (seat: 'end' | 'older') => chat.sit(seat),
    /** The page is out of sight. */
    lookAway: () => chat.lookAway(),
    /** Something was written in the box. */
    tellTyping: () => chat.tellTyping(),
    loadOlder: paging.older,
    loadNewer: paging.newer,
    /** What these bring is drawn when they are done. */
    loadNewest: () => paging.newest().then(draw),
    loadAround: (message: MessageRef) => paging.around(message).finally(draw),
    dialNow: connection.dialNow,
    rejoin: chat.rejoin,
  }
}

export type ChatApi = ReturnType<typeof useChat>
