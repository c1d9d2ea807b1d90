/**
 * Frames as the client uses them. ProtoJSON leaves out what has its default value; this is the only place that fills
 * it in. Types come from the proto and cost nothing at run time. How frames travel is `connection.ts`'s.
 */
import type { ClientFrameJson, MemberJson, MessageJson, PositionJson } from '../gen/chat/v1/chat_pb.ts'

export interface Member {
  id: string
  name: string
  avatar: string
  kind: string
}

export interface Message {
  epoch: string
  seq: number
  id: string
  clientId: string
  text: string
  sentAt: string
  /** Who is spoken to, by member id. */
  mentions: string[]
  member: Member
  /** An operator deleted it: its text is gone. */
  deleted: boolean
  /** Not said by anyone: from here on the message with this number is deleted. 0: a message. */
  deletes: number
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
}

export interface Failure {
  type: 'error'
  code: string
  message: string
  retryable: boolean
  retryAfterMs: number
}

/** What the server says. A body from a newer server is `unknown`, never an error. */
export type Body =
  | { type: 'welcome'; member: Member; token: string; heartbeatSeconds: number; maxTextBytes: number; expiresAt: string; webBuild: string }
  | Joined
  | { type: 'refreshed'; token: string; expiresAt: string }
  | { type: 'left'; room: string }
  | { type: 'sent'; room: string; seq: number; id: string }
  | { type: 'history'; room: string; messages: Message[] }
  | { type: 'members'; room: string; members: Member[]; memberCount: number }
  | { type: 'message'; room: string; message: Message }
  | { type: 'presence'; room: string; joined: Member[]; left: string[]; memberCount: number }
  | { type: 'heartbeat'; heads: { room: string; epoch: string; seq: number }[] }
  | { type: 'move'; withinSeconds: number }
  | { type: 'removed'; room: string; reason: string }
  | Failure
  | { type: 'unknown' }

export interface Frame {
  id: number
  body: Body
}

export type Ask = Omit<ClientFrameJson, 'id'>

/** Reads a text frame. Throws on what is not JSON at all. */
export function decode(text: string): Frame {
  const frame = JSON.parse(text) as Record<string, Json> & { id?: number }
  return { id: frame.id ?? 0, body: decodeBody(frame) }
}

export function encode(id: number, ask: Ask): string {
  return JSON.stringify({ id, ...ask })
}

// ProtoJSON as it comes over the wire: every field may be absent.
type Json = Record<string, any>

function decodeBody(frame: Record<string, any>): Body {
  if (frame.welcome) {
    const w = frame.welcome as Json
    return {
      type: 'welcome',
      member: decodeMember(w.member),
      token: w.token ?? '',
      heartbeatSeconds: w.heartbeat_seconds ?? 25,
      maxTextBytes: w.max_text_bytes ?? 8192,
      expiresAt: w.expires_at ?? '',
      webBuild: w.web_build ?? '',
    }
  }
  if (frame.refreshed) {
    return { type: 'refreshed', token: frame.refreshed.token ?? '', expiresAt: frame.refreshed.expires_at ?? '' }
  }
  if (frame.left) return { type: 'left', room: frame.left.room ?? '' }
  if (frame.joined) {
    const j = frame.joined as Json
    return {
      type: 'joined',
      room: j.room ?? '',
      epoch: j.epoch ?? '',
      head: j.head ?? 0,
      resumed: j.resumed ?? false,
      messages: (j.messages ?? []).map(decodeMessage),
      members: (j.members ?? []).map(decodeMember),
      memberCount: j.member_count ?? 0,
    }
  }
  if (frame.sent) return { type: 'sent', room: frame.sent.room ?? '', seq: frame.sent.seq ?? 0, id: frame.sent.id ?? '' }
  if (frame.history) {
    return { type: 'history', room: frame.history.room ?? '', messages: (frame.history.messages ?? []).map(decodeMessage) }
  }
  if (frame.members) {
    const m = frame.members as Json
    return { type: 'members', room: m.room ?? '', members: (m.members ?? []).map(decodeMember), memberCount: m.member_count ?? 0 }
  }
  if (frame.message) return { type: 'message', room: frame.message.room ?? '', message: decodeMessage(frame.message) }
  if (frame.presence) {
    const p = frame.presence as Json
    return {
      type: 'presence',
      room: p.room ?? '',
      joined: (p.joined ?? []).map(decodeMember),
      left: p.left ?? [],
      memberCount: p.member_count ?? 0,
    }
  }
  if (frame.heartbeat) {
    const heads = (frame.heartbeat.heads ?? []) as Json[]
    return { type: 'heartbeat', heads: heads.map((h) => ({ room: h.room ?? '', epoch: h.epoch ?? '', seq: h.seq ?? 0 })) }
  }
  if (frame.move) return { type: 'move', withinSeconds: frame.move.within_seconds ?? 0 }
  if (frame.removed) return { type: 'removed', room: frame.removed.room ?? '', reason: frame.removed.reason ?? '' }
  if (frame.error) {
    const e = frame.error as Json
    return {
      type: 'error',
      code: e.code ?? '',
      message: e.message ?? '',
      retryable: e.retryable ?? false,
      retryAfterMs: e.retry_after_ms ?? 0,
    }
  }
  return { type: 'unknown' }
}

function decodeMember(member: MemberJson | undefined): Member {
  return { id: member?.id ?? '', name: member?.name ?? '', avatar: member?.avatar ?? '', kind: member?.kind ?? '' }
}

function decodeMessage(message: MessageJson & Json): Message {
  return {
    epoch: message.epoch ?? '',
    seq: message.seq ?? 0,
    id: message.id ?? '',
    clientId: message.client_id ?? '',
    text: message.text ?? '',
    sentAt: message.sent_at ?? '',
    mentions: message.mentions ?? [],
    member: decodeMember(message.member),
    deleted: message.deleted ?? false,
    deletes: message.deletes ?? 0,
  }
}
