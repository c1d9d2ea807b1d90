/**
 * What a change does to the message that it names: the rule of `Message` in chat.proto. A message from history has its
 * changes folded in, up to the one named by `changed`; so a change is applied if its number is more than that.
 */
import type { Message, Reactions } from './protocol/frames.ts'

/** The number of the message that `message` changes. 0: it changes none, it was said. */
export function target(message: Message): number {
  return message.deletes || message.edits || (message.reaction?.seq ?? 0)
}

export function isSaid(message: Message): boolean {
  return !target(message)
}

/** The messages with these changes applied. Both are by number, the lowest first. */
export function amend(messages: Message[], changes: Message[]): Message[] {
  let amended = messages
  for (const change of changes) {
    const at = find(amended, target(change))
    const message = amended[at]
    // An edit that another change followed has lost its text: what followed it is what counts.
    if (!message || change.seq <= message.changed || (change.edits && change.deleted)) continue
    if (amended === messages) amended = [...messages]
    amended[at] = { ...message, ...(message.deleted ? {} : changed(message, change)), changed: change.seq }
  }
  return amended
}

/** Where the message with this number is. -1: nowhere. */
export function find(messages: Message[], seq: number): number {
  let [low, high] = [0, messages.length - 1]
  while (low <= high) {
    const middle = (low + high) >> 1
    const there = messages[middle]!.seq
    if (there === seq) return middle
    if (there < seq) low = middle + 1
    else high = middle - 1
  }
  return -1
}

function changed(message: Message, change: Message): Partial<Message> {
  if (change.deletes) return { deleted: true, text: '', mentions: [], reactions: [], attachments: [], editedAt: '' }
  if (change.edits) return { text: change.text, mentions: change.mentions, editedAt: change.sentAt }
  const { emoji = '', removed = false } = change.reaction ?? {}
  return { reactions: removed ? taken(message.reactions, emoji, change.member.id) : put(message.reactions, emoji, change.member.id) }
}

function put(reactions: Reactions[], emoji: string, member: string): Reactions[] {
  const known = reactions.find((each) => each.emoji === emoji)
  if (!known) return [...reactions, { emoji, members: [member] }]
  if (known.members.includes(member)) return reactions
  return reactions.map((each) => (each === known ? { emoji, members: [...each.members, member] } : each))
}

function taken(reactions: Reactions[], emoji: string, member: string): Reactions[] {
  return reactions
    .map((each) => (each.emoji === emoji ? { emoji, members: each.members.filter((id) => id !== member) } : each))
    .filter((each) => each.members.length)
}
