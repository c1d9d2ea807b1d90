/** The page's address: which room is open, and which of its messages is meant. `/r/<room>`, `/r/<room>/m/<seq>-<id>`. */
import { shallowRef } from 'vue'
import type { MessageRef } from './protocol/frames.ts'

export interface Route {
  /** As it stands in the address: it may be no name of a room. */
  room: string
  message: MessageRef | undefined
}

const PATH = /^\/r\/([^/]*)(?:\/m\/(\d{1,10})-([\w.~-]+))?\/?$/

export function readPath(path: string): Route {
  if (path === '/') return { room: 'lobby', message: undefined }
  const [, room = path, seq = '', id = ''] = PATH.exec(path) ?? []
  return { room, message: id ? { seq: Number(seq), id } : undefined }
}

export function pathOf(room: string, message?: MessageRef): string {
  return message ? `/r/${room}/m/${message.seq}-${message.id}` : `/r/${room}`
}

/** Where the page is. */
export const route = shallowRef(readPath(location.pathname))

/** Goes there, so that the browser's way back leads here. */
export function go(room: string, message?: MessageRef) {
  const path = pathOf(room, message)
  if (path !== location.pathname) history.pushState(null, '', path)
  route.value = readPath(path)
}

addEventListener('popstate', () => (route.value = readPath(location.pathname)))
