/**
 * A socket made of plain HTTP requests, for networks that let no WebSocket through: what is asked goes out as a request,
 * and a room is heard as Server-Sent Events. Frames look the same on both, so `connection.ts` need not know.
 *
 * One room for each socket: its stream is the session.
 */
import { UNREACHABLE } from '../reasons.ts'
import type { Socket } from './connection.ts'

type Frame = Record<string, any>

/** What the stream of events brings. */
interface ServerSentEvent {
  type: string
  data: string
}

/** RFC 6455's word for a connection that ended without one. */
const BROKEN = 1006

export class HttpSocket implements Socket {
  onopen: Socket['onopen'] = null
  onmessage: Socket['onmessage'] = null
  onclose: Socket['onclose'] = null
  private readonly origin: string
  private readonly fetch: typeof fetch
  private readonly ending = new AbortController()
  private token = ''
  private streaming: AbortController | undefined

  constructor(origin: string, fetcher: typeof fetch) {
    this.origin = origin
    this.fetch = fetcher
    // Whoever made this has yet to say what is to happen then.
    queueMicrotask(() => this.ending.signal.aborted || this.onopen?.())
  }

  send(text: string) {
    const frame = JSON.parse(text) as Frame
    void this.answer(frame).then((body) => {
      if (body) this.hear({ id: frame.id, ...body })
    })
  }

  close() {
    this.ending.abort()
  }

  /** What the server says to `frame`. Nothing: the answer comes another way, or nobody waits for it any more. */
  private async answer(frame: Frame): Promise<Frame | undefined> {
    try {
      if (frame.hello) return await this.hello(frame.hello.token ?? '')
      if (frame.refresh) return await this.refresh(frame.refresh.token)
      if (frame.join) return await this.join(frame.id, frame.join)
      if (frame.leave) return this.leave(frame.leave)
      if (frame.send) return await this.say(frame.send)
      if (frame.history) return reply('history', await this.read('messages', frame.history))
      if (frame.members) return reply('members', await this.read('members', frame.members))
      if (frame.edit) return await this.change('PATCH', frame.edit)
      if (frame.delete) return await this.change('DELETE', frame.delete)
      if (frame.react) return await this.react(frame.react)
      if (frame.rooms) return reply('rooms', await this.ask('GET', '/v1/rooms'))
      if (frame.read) return reply('read', await this.ask('PUT', path(frame.read.room, 'read'), { seq: frame.read.seq }))
      return { error: { code: 'INVALID', message: 'This cannot be asked over HTTP.' } }
    } catch {
      if (this.ending.signal.aborted) return undefined
      // Nothing like our door is there, or nothing at all: another way may do better.
      if (frame.hello) this.onclose?.({ code: BROKEN, reason: '' })
      return { error: { code: 'UNAVAILABLE', message: UNREACHABLE, retryable: true } }
    }
  }

  private async hello(token: string): Promise<Frame> {
    this.token = token
    const welcome = await this.ask('POST', '/v1/tokens')
    if (welcome.error) return welcome
    this.token = welcome.token
    return { welcome }
  }

  /** A stream goes on by the token with which it began; a newer one is for what is asked from now on. */
  private async refresh(newer: string | undefined): Promise<Frame> {
    const reply = await this.hello(newer || this.token)
    return reply.welcome ? { refreshed: { token: this.token, expires_at: reply.welcome.expires_at } } : reply
  }

  private async say({ room, ...message }: Frame): Promise<Frame> {
    return sent(room, await this.ask('POST', path(room, 'messages'), message))
  }

  private async change(method: string, { room, message, ...change }: Frame): Promise<Frame> {
    return sent(room, await this.ask(method, `${path(room, 'messages')}/${message.seq}?id=${encodeURIComponent(message.id)}`, change))
  }

  private async react({ room, message, emoji, remove, client_id }: Frame): Promise<Frame> {
    const url = `${path(room, 'messages')}/${message.seq}/reactions/${encodeURIComponent(emoji)}?id=${encodeURIComponent(message.id)}`
    return sent(room, await this.ask(remove ? 'DELETE' : 'PUT', url, { client_id }))
  }

  private async read(what: string, { room, ...page }: Frame): Promise<Frame> {
    const query = new URLSearchParams(Object.entries(page).map(([name, value]) => [name, `${value}`]))
    return this.ask('GET', `${path(room, what)}?${query}`)
  }

  /** Hears the room from now on, instead of what was heard before. The first event is the answer. */
  private async join(id: number, { room, since }: Frame): Promise<Frame | undefined> {
    this.streaming?.abort()
    const streaming = new AbortController()
    this.streaming = streaming
    this.ending.signal.addEventListener('abort', () => streaming.abort())
    const headers: Record<string, string> = since ? { 'last-event-id': `${since.epoch}:${since.seq}:${since.id}` } : {}
    const response = await this.request('GET', path(room, 'events'), { headers, signal: streaming.signal })
    if (!response.ok || !response.body) return fault(response)
    void this.stream(response.body, id, streaming)
    return undefined
  }

  private leave({ room }: Frame): Frame {
    this.streaming?.abort()
    this.streaming = undefined
    return { left: { room } }
  }

  private async stream(body: ReadableStream<Uint8Array>, joinId: number, streaming: AbortController) {
    let end = { code: BROKEN, reason: '' }
    try {
      for await (const event of events(body)) {
        const frame = JSON.parse(event.data) as Frame
        if (event.type === 'close') end = frame.close
        // The reply to the join that opened this stream bears the id of the door's own join.
        else this.hear(frame.joined && frame.id ? { ...frame, id: joinId } : frame)
      }
    } catch {
      // It broke, or is not needed any more.
    }
    if (this.streaming !== streaming || this.ending.signal.aborted) return
    this.onclose?.(end)
  }

  private hear(frame: Frame) {
    if (!this.ending.signal.aborted) this.onmessage?.({ data: JSON.stringify(frame) })
  }

  private async ask(method: string, url: string, body?: Frame): Promise<Frame> {
    const headers: Record<string, string> = body ? { 'content-type': 'application/json' } : {}
    const response = await this.request(method, url, { headers, body: body && JSON.stringify(body) })
    return response.ok ? ((await response.json()) as Frame) : fault(response)
  }

  private request(method: string, url: string, { headers, ...init }: RequestInit & { headers: Record<string, string> }) {
    const bearer: Record<string, string> = this.token ? { authorization: `Bearer ${this.token}` } : {}
    const { fetch } = this
    return fetch(this.origin + url, {
      method,
      headers: { ...headers, ...bearer },
      signal: this.ending.signal,
      cache: 'no-store',
      credentials: 'omit',
      ...init,
    })
  }
}

function reply(name: string, answer: Frame): Frame {
  return answer.error ? answer : { [name]: answer }
}

function sent(room: string, kept: Frame): Frame {
  const { epoch, seq, id, sent_at } = kept
  return reply('sent', kept.error ? kept : { room, epoch, seq, id, sent_at })
}

function path(room: string, what: string): string {
  return `/v1/rooms/${encodeURIComponent(room)}/${what}`
}

/** Why a request got nothing, as a frame. Throws if the answer is not our door's. */
async function fault(response: Response): Promise<Frame> {
  const { error } = (await response.json()) as Frame
  if (!error) throw new Error(`${response.status}`)
  return { error }
}

/** The events of a stream that have data. */
export async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const reader = body.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader()
  let waiting = ''
  for (;;) {
    const { value, done } = await reader.read()
    if (done) return
    waiting += value
    for (let end = waiting.indexOf('\n\n'); end >= 0; end = waiting.indexOf('\n\n')) {
      const event = read(waiting.slice(0, end))
      waiting = waiting.slice(end + 2)
      if (event.data) yield event
    }
  }
}

/** Our door writes one line of data for each event, and a space after each colon. */
function read(text: string): ServerSentEvent {
  const event = { type: 'message', data: '' }
  for (const line of text.split('\n')) {
    if (line.startsWith('data: ')) event.data = line.slice(6)
    else if (line.startsWith('event: ')) event.type = line.slice(7)
  }
  return event
}
