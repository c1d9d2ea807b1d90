/** Stories of one reader in many rooms, against a gateway that is a script. */
import { beforeEach, describe, expect, it, vi } from 'vitest'
import { Chat } from '../src/chat.ts'
import { Page, settle, type Wire } from './wire.ts'

const bob = { id: 'm_bob', name: 'Bob' }
const message = (room: string, seq: number, more: object = {}) => ({ room, epoch: 'e', seq, id: `x${seq}`, client_id: `c${seq}`, text: `t${seq}`, member: bob, ...more })
const joined = (room: string, head: number, more: object = {}) => ({ room, epoch: 'e', head, messages: head ? [message(room, head)] : [], members: [{ id: 'm' }], member_count: 1, ...more })
const summary = (room: string, more: object = {}) => ({ room, epoch: 'e', head: 9, read: 5, ...more })

let page: Page
let chat: Chat

beforeEach(() => {
  vi.useFakeTimers()
  page = new Page()
  chat = new Chat(page, () => {})
  chat.openRoom('lobby')
  chat.sit('end')
  chat.connection.dialNow()
})

/** What the gateway was asked on a connection and has not answered, by what it is. */
const asked = (wire: Wire, what: string) => wire.sent.filter((frame) => what in frame) as { id: number; [what: string]: any }[]

function answer(wire: Wire, what: string, reply: object) {
  wire.hear({ id: asked(wire, what).at(-1)!.id, ...reply })
  return settle()
}

async function answerJoin(wire: Wire, room: string, reply: object) {
  wire.hear({ id: asked(wire, 'join').findLast(({ join }) => join.room === room)!.id, joined: reply })
  await settle()
}

async function inLobby(head = 0): Promise<Wire> {
  const wire = page.wires.at(-1)!
  await wire.welcome()
  await answerJoin(wire, 'lobby', joined('lobby', head))
  return wire
}

describe('my rooms', () => {
  it('are the latest of my list, each with what is unread in it', async () => {
    const wire = await inLobby()
    const many = Array.from({ length: 30 }, (_, n) => summary(`r${n}`, { unread: n }))
    await answer(wire, 'rooms', { rooms: { rooms: many } })
    expect(asked(wire, 'join').length).toBe(20)
    expect(chat.rooms.length).toBe(31)
    await answerJoin(wire, 'r3', joined('r3', 9, { read: 5 }))
    wire.hear({ message: message('r3', 10, { mentions: ['m'] }) })
    wire.hear({ message: message('r3', 11, { member: { id: 'm' } }) })
    const r3 = () => chat.rooms.find(({ room }) => room === 'r3')
    expect(r3()).toEqual({ room: 'r3', unread: 3, mentions: 1 })
    chat.openRoom('r3')
    expect(r3()?.unread).toBe(3)
    chat.sit('end')
    expect(r3()).toEqual({ room: 'r3', unread: 0, mentions: 0 })
    expect(chat.state.line).toBe(9)
    await vi.advanceTimersByTimeAsync(1000)
    expect(asked(wire, 'read').at(-1)!.read).toEqual({ room: 'r3', seq: 11 })
  })

  it('are read where another device of mine has read on', async () => {
    const wire = await inLobby()
    await answer(wire, 'rooms', { rooms: { rooms: [summary('attic')] } })
    await answerJoin(wire, 'attic', joined('attic', 9, { read: 5 }))
    const unread = () => chat.rooms.find(({ room }) => room === 'attic')!.unread
    expect(unread()).toBe(1)
    wire.hear({ read: { room: 'attic', epoch: 'e', seq: 9 } })
    expect(unread()).toBe(0)
  })

  it('are joined again, the open one first, each from where I was', async () => {
    const wire = await inLobby()
    await answer(wire, 'rooms', { rooms: { rooms: [summary('attic')] } })
    await answerJoin(wire, 'attic', joined('attic', 9))
    chat.openRoom('cellar')
    await answerJoin(wire, 'cellar', joined('cellar', 4))
    wire.onclose?.({ code: 1006, reason: '' })
    await vi.advanceTimersByTimeAsync(500)
    await page.wires[1]!.welcome()
    expect(asked(page.wires[1]!, 'join').map(({ join }) => join)).toEqual([{ room: 'cellar', since: { epoch: 'e', seq: 4, id: 'x4' } }])
    await answerJoin(page.wires[1]!, 'cellar', joined('cellar', 4, { resumed: true, messages: [] }))
    const others = asked(page.wires[1]!, 'join').slice(1).map(({ join }) => join)
    expect(others).toEqual([{ room: 'attic', since: { epoch: 'e', seq: 9, id: 'x9' } }, { room: 'lobby' }])
  })

  it('are all joined elsewhere before a gateway that drains is left', async () => {
    const wire = await inLobby(3)
    await answer(wire, 'rooms', { rooms: { rooms: [summary('attic')] } })
    await answerJoin(wire, 'attic', joined('attic', 9))
    wire.hear({ move: { within_seconds: 2 } })
    await vi.advanceTimersByTimeAsync(1000)
    const next = page.wires[1]!
    await next.welcome()
    await answerJoin(next, 'lobby', joined('lobby', 3, { resumed: true, messages: [] }))
    expect([wire.closed, chat.status.at]).toEqual([0, 'open'])
    await answerJoin(next, 'attic', joined('attic', 9, { resumed: true, messages: [] }))
    expect([wire.closed, chat.status.at]).toEqual([1000, 'open'])
  })

  it('are no more than twenty at once: the one that was opened longest ago is left, and stays in the list', async () => {
    const wire = await inLobby(2)
    for (let n = 1; n <= 20; n++) {
      chat.openRoom(`r${n}`)
      await answerJoin(wire, `r${n}`, joined(`r${n}`, n))
    }
    expect(asked(wire, 'leave').map(({ leave }) => leave.room)).toEqual(['lobby'])
    expect(chat.rooms.map(({ room }) => room)).toContain('lobby')
  })

  it('are not left while something of mine waits there', async () => {
    const wire = await inLobby(2)
    chat.sending.say('lobby', 'wait', {})
    for (let n = 1; n <= 20; n++) {
      chat.openRoom(`r${n}`)
      await answerJoin(wire, `r${n}`, joined(`r${n}`, n))
    }
    expect(asked(wire, 'leave').map(({ leave }) => leave.room)).toEqual(['r1'])
  })

  it('that was opened while a connection was greeted is joined on it', async () => {
    const wire = page.wires[0]!
    await wire.welcome()
    chat.openRoom('attic')
    await answerJoin(wire, 'lobby', joined('lobby', 0))
    await answerJoin(wire, 'attic', joined('attic', 1))
    expect([chat.status.at, chat.state.room, chat.state.head]).toEqual(['open', 'attic', 1])
  })
})

describe('what I say', () => {
  it('waits for the connection, goes in order, and again under the same name until it is known', async () => {
    chat.sending.say('lobby', 'one', {})
    chat.sending.say('lobby', 'two', { replyTo: { seq: 1, id: 'x1' }, mentions: ['m_bob'], attachments: [{ id: 'f', name: 'a', type: 'text/plain', size: 1, width: 0, height: 0 }] })
    const wire = await inLobby(1)
    const first = asked(wire, 'send')
    expect(first.map(({ send }) => send.text)).toEqual(['one'])
    wire.onclose?.({ code: 1006, reason: '' })
    await vi.advanceTimersByTimeAsync(500)
    await page.wires[1]!.welcome()
    await answerJoin(page.wires[1]!, 'lobby', joined('lobby', 1, { resumed: true, messages: [] }))
    expect(asked(page.wires[1]!, 'send')[0]!.send).toEqual(first[0]!.send)
    await answer(page.wires[1]!, 'send', { sent: { room: 'lobby', seq: 2 } })
    expect(asked(page.wires[1]!, 'send')[1]!.send).toMatchObject({
      text: 'two', reply_to: { seq: 1, id: 'x1' }, mentions: ['m_bob'], attachments: ['f'],
    })
  })

  it('fails when no answer comes for ten seconds, and can be tried again', async () => {
    const wire = await inLobby()
    chat.sending.say('lobby', 'hi', {})
    wire.hear({ heartbeat: {} })
    await vi.advanceTimersByTimeAsync(9_999)
    expect(chat.state.pending[0]?.state).toBe('sending')
    await vi.advanceTimersByTimeAsync(1)
    expect(chat.state.pending[0]).toMatchObject({ state: 'failed', canRetry: true })
  })

  it('and change is tried again under the same name while it may succeed, and tells why it does not', async () => {
    const wire = await inLobby(1)
    const done = chat.sending.change((client_id) => ({ delete: { room: 'lobby', client_id, message: { seq: 1, id: 'x1' } } }))
    await answer(wire, 'delete', { error: { code: 'UNAVAILABLE', retryable: true } })
    await vi.advanceTimersByTimeAsync(400)
    const [one, again] = asked(wire, 'delete')
    expect(again!.delete).toEqual(one!.delete)
    await answer(wire, 'delete', { error: { code: 'FORBIDDEN', message: 'not yours' } })
    expect(await done).toMatchObject({ code: 'FORBIDDEN', message: 'not yours' })
  })
})

describe('who is writing', () => {
  const typing = { typing: { room: 'lobby', member: bob } }

  it('is told for five seconds after they were heard of, or until they say it or leave', async () => {
    const wire = await inLobby()
    const names = () => chat.typing.members.map(({ name }) => name)
    wire.hear(typing)
    await vi.advanceTimersByTimeAsync(4_000)
    wire.hear(typing)
    await vi.advanceTimersByTimeAsync(4_999)
    expect(names()).toEqual(['Bob'])
    await vi.advanceTimersByTimeAsync(1)
    expect(names()).toEqual([])
    wire.hear(typing)
    wire.hear({ message: message('lobby', 1) })
    expect(names()).toEqual([])
    wire.hear(typing)
    wire.hear({ presence: { room: 'lobby', left: ['m_bob'] } })
    expect(names()).toEqual([])
    wire.hear({ typing: { room: 'lobby', member: { id: 'm', name: 'me' } } })
    wire.hear({ typing: { room: 'attic', member: bob } })
    expect(names()).toEqual([])
  })

  it('is told of me once in three seconds', async () => {
    const wire = await inLobby()
    for (let n = 0; n < 4; n++) {
      chat.tellTyping()
      await vi.advanceTimersByTimeAsync(1000)
    }
    expect(asked(wire, 'typing').length).toBe(2)
  })
})

describe('where I read', () => {
  it('is told when I see the newest message, once in a second, the last one too', async () => {
    const wire = await inLobby(3)
    const marks = () => asked(wire, 'read').map(({ read }) => read.seq)
    await vi.advanceTimersByTimeAsync(1000)
    expect(marks()).toEqual([3])
    await answer(wire, 'read', { read: { room: 'lobby', epoch: 'e', seq: 3 } })
    chat.sit('older')
    wire.hear({ message: message('lobby', 4) })
    await vi.advanceTimersByTimeAsync(5000)
    expect([marks(), chat.state.line]).toEqual([[3], 4])
    chat.sit('end')
    wire.hear({ message: message('lobby', 5) })
    await vi.advanceTimersByTimeAsync(1000)
    expect(marks()).toEqual([3, 5])
  })

  it('keeps its line until I look away, and finds its place again', async () => {
    const wire = await inLobby(3)
    chat.lookAway()
    wire.hear({ message: message('lobby', 4) })
    wire.hear({ message: message('lobby', 5) })
    chat.sit('end')
    expect([chat.state.line, chat.state.seen]).toEqual([4, 5])
    chat.sit('older')
    expect(chat.state.line).toBe(4)
    chat.lookAway()
    expect(chat.state.line).toBe(0)
  })
})

describe('a link to a message', () => {
  it('loads what is around it, and the way back to the newest', async () => {
    const wire = await inLobby(900)
    const found = chat.paging.around({ seq: 300, id: 'x300' })
    expect(asked(wire, 'history').at(-1)!.history).toEqual({ room: 'lobby', before: 401, limit: 200 })
    const page = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, n) => message('lobby', from + n))
    await answer(wire, 'history', { history: { room: 'lobby', epoch: 'e', messages: page(201, 400) } })
    expect(await found).toBe(true)
    expect([chat.state.from, chat.state.to, chat.state.seat]).toEqual([201, 400, 'older'])
    wire.hear({ message: message('lobby', 901) })
    expect([chat.state.messages.length, chat.state.head]).toEqual([200, 901])
    const newest = chat.paging.newest()
    await answer(wire, 'history', { history: { room: 'lobby', epoch: 'e', messages: page(802, 901) } })
    await newest
    expect([chat.state.from, chat.state.to]).toEqual([802, 901])
  })

  it('that is not kept any more, or bears another id, leads nowhere', async () => {
    const wire = await inLobby(5)
    expect(await chat.paging.around({ seq: 5, id: 'x5' })).toBe(true)
    const found = chat.paging.around({ seq: 5, id: 'other' })
    await answer(wire, 'history', { history: { room: 'lobby', epoch: 'e', messages: [message('lobby', 5)] } })
    expect(await found).toBe(false)
  })
})
