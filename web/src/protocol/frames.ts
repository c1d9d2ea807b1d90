/**
 * Frames as the client uses them. ProtoJSON leaves out what has its default value; this is the only place that fills
 * it in. Types come from the proto and cost nothing at run time. How frames travel is `connection.ts`'s.
 */
import type { ClientFrameJson, PositionJson } from '../gen/chat/v1/chat_pb.ts'

export interface Member {
  id: string
  name: string
  avatar: string
  kind: string
}

/** A message of the same room. */
export interface MessageRef {
  seq: number
  id: string
}

/** Who reacted with this emoji, by id, the first one first. */
export interface Reactions {
  emoji: string
  members: string[]
}

export interface Attachment {
  id: string
  name: string
  /** A media type. */
  type: string
  /** In bytes. */
  size: number
  /** Of an image, in pixels; else 0. */
  width: number
  height: number
}

export interface Message {
  epoch: string
  seq: number
  id: string
  clientId: string
  text: string
  sentAt: string
  /** Without an id: an operator, who is no member. */
  member: Member
  /** Its text is gone, and all that was with it. */
  deleted: boolean
  /** A change: the message with this number is deleted. 0: none. */
  deletes: number
  /** A change: the message with this number has this text and these mentions. 0: none. */
  edits: number
  /** A change: `member` put a reaction or took it back. */
  reaction: { seq: number; emoji: string; removed: boolean } | undefined
  /** The number of the last change that is folded in. 0: as it was said. */
  changed: number
  /** Empty: its text is as it was said. */
  editedAt: string
  replyTo: MessageRef | undefined
  /** Who is spoken to, by id. */
  mentions: string[]
  reactions: Reactions[]
  attachments: Attachment[]
}

export type Position = Required<PositionJson>

export interface Joined {
  type: 'joined'
  room: string
  epoch: string
  head: number
  resumed: boolean
  messages: Message[]
  members: Member[]
  memberCount: number
  /** Up to where I have read, by any session. */
  read: number
}

/** A room of mine, as it looks from outside. */
export interface RoomSummary {
  room: string
  epoch: string
  head: number
  read: number
  /** 100: that many or more. */
  unread: number
  mentions: number
  memberCount: number
}

export interface Failure {
  type: 'error'
  code: string
  message: string
  retryable: boolean
  retryAfterMs: number
}

export interface Welcome {
  type: 'welcome'
  member: Member
  token: string
  heartbeatSeconds: number
  maxTextBytes: number
  /** 0: files cannot be attached. */
  maxAttachmentBytes: number
  expiresAt: string
  /** Which web client the gateway serves; empty: it does not say. */
  webBuild: string
}

/** What the server says. A body from a newer server is `unknown`, never an error. */
export type Body =
  | Welcome
  | Joined
  | { type: 'refreshed'; token: string; expiresAt: string }
  | { type: 'left'; room: string }
  | { type: 'sent'; room: string; seq: number; id: string }
  | { type: 'history'; room: string; epoch: string; messages: Message[] }
  | { type: 'members'; room: string; members: Member[]; memberCount: number }
  | { type: 'read'; room: string; epoch: string; seq: number }
  | { type: 'rooms'; rooms: RoomSummary[] }
  | { type: 'message'; room: string; message: Message }
  | { type: 'presence'; room: string; joined: Member[]; left: string[]; memberCount: number }
  | { type: 'typing'; room: string; member: Member }
  | { type: 'heartbeat'; heads: { room: string; epoch: string; seq: number }[] }
  | { type: 'move'; withinSeconds: number }
  | { type: 'removed'; room: string; reason: string }
  | Failure
  | { type: 'unknown' }

export interface Frame {
  id: number
  body: Body
}

/** What can be asked, by the proto's own names. */
export type Ask = Named<Omit<ClientFrameJson, 'id'>>

type Named<T> = T extends readonly (infer Each)[]
  ? Named<Each>[]
  : T extends object
    ? { [Key in keyof T as Snake<Key & string>]: Named<T[Key]> }
    : T
type Snake<S extends string> = S extends `${infer First}${infer Rest}`
  ? `${First extends Lowercase<First> ? First : `_${Lowercase<First>}`}${Snake<Rest>}`
  : S

/** Reads a text frame. Throws on what is not JSON at all. */
export function decode(text: string): Frame {
  const frame = JSON.parse(text) as Json
  return { id: frame.id ?? 0, body: readBody(frame) }
}

export function encode(id: number, ask: Ask): string {
  return JSON.stringify({ id, ...ask })
}

// ProtoJSON as it comes over the wire: every field may be absent.
type Json = Record<string, any>

const readers: Record<string, (body: Json) => Body> = {
  welcome: (w) => ({
    type: 'welcome',
    member: readMember(w.member),
    token: w.token ?? '',
    heartbeatSeconds: w.heartbeat_seconds ?? 25,
    maxTextBytes: w.max_text_bytes ?? 8192,
    maxAttachmentBytes: w.max_attachment_bytes ?? 0,
    expiresAt: w.expires_at ?? '',
    webBuild: w.web_build ?? '',
  }),
  joined: (j) => ({
    type: 'joined',
    room: j.room ?? '',
    epoch: j.epoch ?? '',
    head: j.head ?? 0,
    resumed: j.resumed ?? false,
    messages: (j.messages ?? []).map(readMessage),
    members: (j.members ?? []).map(readMember),
    memberCount: j.member_count ?? 0,
    read: j.read ?? 0,
  }),
  refreshed: (r) => ({ type: 'refreshed', token: r.token ?? '', expiresAt: r.expires_at ?? '' }),
  left: (l) => ({ type: 'left', room: l.room ?? '' }),
  sent: (s) => ({ type: 'sent', room: s.room ?? '', seq: s.seq ?? 0, id: s.id ?? '' }),
  history: (h) => ({ type: 'history', room: h.room ?? '', epoch: h.epoch ?? '', messages: (h.messages ?? []).map(readMessage) }),
  members: (m) => ({ type: 'members', room: m.room ?? '', members: (m.members ?? []).map(readMember), memberCount: m.member_count ?? 0 }),
  read: (r) => ({ type: 'read', room: r.room ?? '', epoch: r.epoch ?? '', seq: r.seq ?? 0 }),
  rooms: (r) => ({ type: 'rooms', rooms: (r.rooms ?? []).map(readSummary) }),
  message: (m) => ({ type: 'message', room: m.room ?? '', message: readMessage(m) }),
  presence: (p) => ({
    type: 'presence',
    room: p.room ?? '',
    joined: (p.joined ?? []).map(readMember),
    left: p.left ?? [],
    memberCount: p.member_count ?? 0,
  }),
  typing: (t) => ({ type: 'typing', room: t.room ?? '', member: readMember(t.member) }),
  heartbeat: (h) => ({
    type: 'heartbeat',
    heads: ((h.heads ?? []) as Json[]).map((head) => ({ room: head.room ?? '', epoch: head.epoch ?? '', seq: head.seq ?? 0 })),
  }),
  move: (m) => ({ type: 'move', withinSeconds: m.within_seconds ?? 0 }),
  removed: (r) => ({ type: 'removed', room: r.room ?? '', reason: r.reason ?? '' }),
  error: (e) => ({
    type: 'error',
    code: e.code ?? '',
    message: e.message ?? '',
    retryable: e.retryable ?? false,
    retryAfterMs: e.retry_after_ms ?? 0,
  }),
}

function readBody(frame: Json): Body {
  for (const [name, reader] of Object.entries(readers)) if (frame[name]) return reader(frame[name])
  return { type: 'unknown' }
}

function readMember(member: Json | undefined): Member {
  return { id: member?.id ?? '', name: member?.name ?? '', avatar: member?.avatar ?? '', kind: member?.kind ?? '' }
}

function readSummary(room: Json): RoomSummary {
  return {
    room: room.room ?? '',
    epoch: room.epoch ?? '',
    head: room.head ?? 0,
    read: room.read ?? 0,
    unread: room.unread ?? 0,
    mentions: room.mentions ?? 0,
    memberCount: room.member_count ?? 0,
  }
}

function readRef(ref: Json): MessageRef {
  return { seq: ref.seq ?? 0, id: ref.id ?? '' }
}

export function readAttachment(file: Json): Attachment {
  return {
    id: file.id ?? '',
    name: file.name ?? '',
    type: file.type ?? '',
    size: file.size ?? 0,
    width: file.width ?? 0,
    height: file.height ?? 0,
  }
}

function readMessage(message: Json): Message {
  const { reaction } = message
  return {
    epoch: message.epoch ?? '',
    seq: message.seq ?? 0,
    id: message.id ?? '',
    clientId: message.client_id ?? '',
    text: message.text ?? '',
    sentAt: message.sent_at ?? '',
    member: readMember(message.member),
    deleted: message.deleted ?? false,
    deletes: message.deletes ?? 0,
    edits: message.edits ?? 0,
    reaction: reaction && { seq: reaction.seq ?? 0, emoji: reaction.emoji ?? '', removed: reaction.removed ?? false },
    changed: message.changed ?? 0,
    editedAt: message.edited_at ?? '',
    replyTo: message.reply_to && readRef(message.reply_to),
    mentions: message.mentions ?? [],
    reactions: ((message.reactions ?? []) as Json[]).map((each) => ({ emoji: each.emoji ?? '', members: each.members ?? [] })),
    attachments: (message.attachments ?? []).map(readAttachment),
  }
}
