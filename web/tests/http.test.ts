import { beforeEach, describe, expect, it } from 'vitest'
import { events, HttpSocket } from '../src/protocol/http.ts'

interface Request {
  line: string
  headers: Record<string, string>
  body: unknown
}

let requests: Request[]
let answers: Response[]
let heard: any[]
let closed: number[]

/** A door of which every answer is a script. */
const door = ((url: string, init: RequestInit) => {
  const headers = init.headers as Record<string, string>
  requests.push({ line: `${init.method} ${url}`, headers, body: init.body && JSON.parse(init.body as string) })
  const answer = answers.shift()
  return answer ? Promise.resolve(answer) : Promise.reject(new TypeError('the network is down'))
}) as typeof fetch

const json = (body: object, status = 200) => new Response(JSON.stringify(body), { status })

function stream() {
  let control!: ReadableStreamDefaultController<Uint8Array>
  const body = new ReadableStream<Uint8Array>({ start: (given) => void (control = given) })
  return {
    response: new Response(body, { status: 200 }),
    write: (text: string) => control.enqueue(new TextEncoder().encode(text)),
    end: () => control.close(),
  }
}

const settle = () => new Promise((done) => setTimeout(done, 0))

function open() {
  const socket = new HttpSocket('https://chat.example', door)
  socket.onmessage = ({ data }) => heard.push(JSON.parse(String(data)))
  socket.onclose = ({ code }) => closed.push(code)
  return socket
}

async function ask(socket: HttpSocket, frame: object) {
  socket.send(JSON.stringify(frame))
  await settle()
}

beforeEach(() => {
  requests = []
  answers = []
  heard = []
  closed = []
})

describe('a socket made of requests', () => {
  it('opens by itself, says hello for a token and asks with it', async () => {
    const socket = open()
    let opened = false
    socket.onopen = () => (opened = true)
    await settle()
    expect(opened).toBe(true)
    answers.push(json({ token: 'T', heartbeat_seconds: 25 }), json({ room: 'lobby', seq: 7, id: 'i', text: 'hi' }))
    await ask(socket, { id: 1, hello: {} })
    await ask(socket, { id: 2, send: { room: 'lobby', client_id: 'c', text: 'hi' } })
    expect(heard).toEqual([
      { id: 1, welcome: { token: 'T', heartbeat_seconds: 25 } },
      { id: 2, sent: { room: 'lobby', seq: 7, id: 'i' } },
    ])
    expect(requests[0]).toMatchObject({ line: 'POST https://chat.example/v1/tokens', headers: {} })
    expect(requests[1]).toEqual({
      line: 'POST https://chat.example/v1/rooms/lobby/messages',
      headers: { 'content-type': 'application/json', authorization: 'Bearer T' },
      body: { client_id: 'c', text: 'hi' },
    })
  })

  it('hears a room from where it was, in events that come in pieces', async () => {
    const socket = open()
    const { response, write, end } = stream()
    answers.push(response)
    await ask(socket, { id: 9, join: { room: 'lobby', since: { epoch: 'e', seq: 4, id: 'x' } } })
    expect(requests[0]!.headers['last-event-id']).toBe('e:4:x')
    write('retry: 1000\n\nid: e:4:x\ndata: {"id":2,"joi')
    write('ned":{"resumed":true}}\n\ndata: {"message":{"seq":5}}\n')
    write('\ndata: {"joined":{}}\n\n')
    await settle()
    expect(heard).toEqual([{ id: 9, joined: { resumed: true } }, { message: { seq: 5 } }, { joined: {} }])
    write('event: close\ndata: {"close":{"code":4001,"reason":"going"}}\n\n')
    end()
    await settle()
    expect(closed).toEqual([4001])
  })

  it('is broken when its stream ends without a word, and not when it is not needed any more', async () => {
    const socket = open()
    const [first, second] = [stream(), stream()]
    answers.push(first.response, second.response)
    await ask(socket, { id: 1, join: { room: 'lobby' } })
    await ask(socket, { id: 2, join: { room: 'lobby' } })
    first.end()
    await settle()
    expect(closed).toEqual([])
    second.end()
    await settle()
    expect(closed).toEqual([1006])
  })

  it('answers what cannot be asked now, and gives up where there is no door', async () => {
    const socket = open()
    answers.push(json({ error: { code: 'RATE_LIMITED', retryable: true, retry_after_ms: 300 } }, 429))
    await ask(socket, { id: 1, history: { room: 'lobby', before: 9, limit: 5 } })
    expect(requests[0]!.line).toBe('GET https://chat.example/v1/rooms/lobby/messages?before=9&limit=5')
    await ask(socket, { id: 2, members: { room: 'lobby' } })
    expect(heard.map(({ id, error }) => [id, error.code, error.retryable])).toEqual([
      [1, 'RATE_LIMITED', true],
      [2, 'UNAVAILABLE', true],
    ])
    expect(closed).toEqual([])
    answers.push(new Response('<h1>Bad Gateway</h1>', { status: 502 }))
    await ask(socket, { id: 3, hello: {} })
    expect(closed).toEqual([1006])
  })
})

it('reads only events that have data', async () => {
  const body = new Response(': a comment\n\nretry: 5\n\nevent: a\ndata: 1\n\ndata: 2\n\ndata: 3').body!
  const read = []
  for await (const event of events(body)) read.push(event)
  expect(read).toEqual([
    { type: 'a', data: '1' },
    { type: 'message', data: '2' },
  ])
})
