/** What a room's reader has yet to read, counted as the server counts it: neither changes nor what I said. */
import type { Message } from './protocol/frames.ts'
import { hasNewer, type RoomState } from './timeline.ts'

export interface Unread {
  unread: number
  /** In how many of them I am spoken to. */
  mentions: number
}

export function unreadOf(state: RoomState): Unread {
  // What is not loaded counts as it is numbered: nobody has said yet what it is.
  let unread = hasNewer(state) ? state.head - Math.max(state.to, state.seen) : 0
  let mentions = 0
  for (let at = state.messages.length - 1; at >= 0; at--) {
    const message = state.messages[at]!
    if (message.seq <= state.seen) break
    if (!isNews(message, state.me)) continue
    unread++
    if (message.mentions.includes(state.me)) mentions++
  }
  return { unread, mentions }
}

/** Whether it is something that another member said. */
export function isNews(message: Message, me: string): boolean {
  return message.member.id !== me && !message.deleted
}

/** What was said to me in a room that I was in before, from then on. */
export function mentionsSince(before: RoomState, now: RoomState): Message[] {
  const mentions: Message[] = []
  for (let at = now.messages.length - 1; before.joined && at >= 0 && now.messages[at]!.seq > before.head; at--) {
    const message = now.messages[at]!
    if (isNews(message, now.me) && message.mentions.includes(now.me)) mentions.unshift(message)
  }
  return mentions
}
