import { beforeEach, describe, expect, it, vi } from 'vitest'
import { backoff, comesBack, Connection, type Status } from '../src/protocol/connection.ts'
import type { Body } from '../src/protocol/frames.ts'
import { Page, settle } from './wire.ts'

let page: Page
let statuses: Status['at'][]
let events: Body[]

function connect() {
  const connection = new Connection(
    page,
    {
      status: (status) => statuses.push(status.at),
      welcome: async () => true,
      event: (body) => events.push(body),
    },
  )
  connection.dialNow()
  return connection
}

beforeEach(() => {
  vi.useFakeTimers()
  page = new Page()
  statuses = []
  events = []
})

describe('a connection', () => {
  it('says hello, keeps the token and is open', async () => {
    connect()
    await page.wires[0]!.welcome()
    expect(page.wires[0]!.sent).toEqual([{ id: 1, hello: {} }])
    expect([page.stored, statuses]).toEqual(['T', ['connecting', 'open']])
  })

  it('forgets a token that is refused and comes as a guest', async () => {
    page.stored = 'old'
    connect()
    page.wires[0]!.onopen?.()
    await settle()
    page.wires[0]!.hear({ id: 1, error: { code: 'UNAUTHENTICATED' } })
    await vi.advanceTimersByTimeAsync(10)
    expect(page.wires[0]!.sent[1]).toEqual({ id: 2, hello: {} })
  })

  it('comes back after a pause that grows until it is welcome', async () => {
    connect()
    for (const [n, pause] of [250, 500, 1000].entries()) {
      page.wires[n]!.onclose?.({ code: 1006, reason: '' })
      await vi.advanceTimersByTimeAsync(pause - 1)
      expect(page.wires.length).toBe(n + 1)
      await vi.advanceTimersByTimeAsync(1)
      expect(page.wires.length).toBe(n + 2)
    }
    await page.wires[3]!.welcome()
    page.wires[3]!.onclose?.({ code: 4001, reason: '' })
    await vi.advanceTimersByTimeAsync(250)
    expect(page.wires.length).toBe(5)
  })

  it('does not come back when it is told not to, until it is asked', async () => {
    const connection = connect()
    await page.wires[0]!.welcome()
    page.wires[0]!.onclose?.({ code: 4502, reason: 'removed' })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([page.wires.length, statuses.at(-1)]).toEqual([1, 'closed'])
    connection.wake()
    expect(page.wires.length).toBe(1)
    connection.dialNow()
    expect(page.wires.length).toBe(2)
  })

  it('does not come back when its hello is forbidden', async () => {
    connect()
    page.wires[0]!.onopen?.()
    await settle()
    page.wires[0]!.hear({ id: 1, error: { code: 'FORBIDDEN', message: 'be kind' } })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([page.wires.length, statuses.at(-1)]).toEqual([1, 'closed'])
  })

  it('is dead after two and a half heartbeats of silence', async () => {
    connect()
    await page.wires[0]!.welcome()
    await vi.advanceTimersByTimeAsync(24_000)
    page.wires[0]!.hear({ heartbeat: {} })
    await vi.advanceTimersByTimeAsync(24_900)
    expect(statuses.at(-1)).toBe('open')
    await vi.advanceTimersByTimeAsync(200)
    expect(statuses.at(-1)).toBe('waiting')
  })

  it('moves without a gap: the old one is closed after the new one is welcome', async () => {
    connect()
    await page.wires[0]!.welcome()
    page.wires[0]!.hear({ move: { within_seconds: 20 } })
    await vi.advanceTimersByTimeAsync(10_000)
    expect([page.wires.length, page.wires[0]!.closed]).toEqual([2, 0])
    await page.wires[1]!.welcome()
    expect([page.wires[0]!.closed, page.wires[1]!.closed]).toEqual([1000, 0])
    expect(statuses).toEqual(['connecting', 'open', 'open'])
  })

  it('answers what was asked on a connection that broke', async () => {
    const connection = connect()
    await page.wires[0]!.welcome()
    const reply = connection.ask({ leave: { room: 'lobby' } })
    page.wires[0]!.onclose?.({ code: 1006, reason: '' })
    expect(await reply).toMatchObject({ type: 'error', code: 'UNAVAILABLE', retryable: true })
  })

  it('goes by HTTP where no WebSocket opens, and back when one does, without a gap', async () => {
    connect()
    page.wires[0]!.onclose?.({ code: 1006, reason: '' })
    await vi.advanceTimersByTimeAsync(250)
    await page.wires[1]!.welcome()
    expect([page.ways, statuses.at(-1)]).toEqual([['websocket', 'http'], 'open'])
    // A first look is in vain, and nobody knows of it.
    const beat = setInterval(() => page.wires[1]!.hear({ heartbeat: {} }), 10_000)
    await vi.advanceTimersByTimeAsync(5 * 60_000)
    expect(page.ways.at(-1)).toBe('websocket')
    page.wires[2]!.onclose?.({ code: 1006, reason: '' })
    expect([statuses.at(-1), page.wires[1]!.closed]).toEqual(['open', 0])
    await vi.advanceTimersByTimeAsync(5 * 60_000)
    clearInterval(beat)
    await page.wires[3]!.welcome()
    expect([page.ways.at(-1), statuses.at(-1), page.wires[1]!.closed]).toEqual(['websocket', 'open', 1000])
    await vi.advanceTimersByTimeAsync(10_000)
    expect(page.wires.length).toBe(4)
  })

  it('tries the other way when a WebSocket opens and says nothing', async () => {
    connect()
    page.wires[0]!.onopen?.()
    await vi.advanceTimersByTimeAsync(15_000 + 250)
    expect(page.ways).toEqual(['websocket', 'http'])
  })

  it('stays with the way on which it was welcome', async () => {
    connect()
    await page.wires[0]!.welcome()
    page.wires[0]!.onclose?.({ code: 1006, reason: '' })
    await vi.advanceTimersByTimeAsync(250)
    expect(page.ways).toEqual(['websocket', 'websocket'])
  })

  it('refreshes its token before that ends, and again', async () => {
    connect()
    const expiresIn = (ms: number) => new Date(Date.now() + ms).toISOString()
    await page.wires[0]!.welcome({ heartbeat_seconds: 1000, expires_at: expiresIn(100_000) })
    await vi.advanceTimersByTimeAsync(79_000)
    expect(page.wires[0]!.sent.length).toBe(1)
    await vi.advanceTimersByTimeAsync(2000)
    expect(page.wires[0]!.sent[1]).toEqual({ id: 2, refresh: {} })
    page.wires[0]!.hear({ id: 2, refreshed: { token: 'T2', expires_at: expiresIn(100_000) } })
    await settle()
    expect(page.stored).toBe('T2')
    page.stored = 'left by another page'
    await vi.advanceTimersByTimeAsync(80_000)
    expect(page.wires[0]!.sent[2]).toEqual({ id: 3, refresh: { token: 'left by another page' } })
  })

  it('refreshes with a newer token when its sign-in has ended', async () => {
    connect()
    await page.wires[0]!.welcome()
    page.stored = 'newer'
    page.wires[0]!.hear({ error: { code: 'UNAUTHENTICATED' } })
    await settle()
    expect(page.wires[0]!.sent[1]).toEqual({ id: 2, refresh: { token: 'newer' } })
  })

  it('waits for a token where there are no guests', async () => {
    const connection = connect()
    page.wires[0]!.onopen?.()
    await settle()
    page.wires[0]!.hear({ id: 1, error: { code: 'UNAUTHENTICATED', message: 'Sign in.' } })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([page.wires.length, statuses.at(-1)]).toEqual([1, 'closed'])
    page.stored = 'left by another page'
    connection.tokenCame()
    page.wires[1]!.onopen?.()
    await settle()
    expect(page.wires[1]!.sent[0]).toEqual({ id: 1, hello: { token: 'left by another page' } })
  })

  it('does not make a guest of who signed in, unless asked', async () => {
    const connection = connect()
    await page.wires[0]!.welcome({ member: { id: 'ada', kind: 'user' } })
    connection.tokenCame()
    page.wires[0]!.onclose?.({ code: 1006, reason: '' })
    await vi.advanceTimersByTimeAsync(250)
    page.wires[1]!.onopen?.()
    await settle()
    page.wires[1]!.hear({ id: 1, error: { code: 'UNAUTHENTICATED', message: 'Its time is over.' } })
    await vi.advanceTimersByTimeAsync(60_000)
    expect([page.wires.length, statuses.at(-1), page.stored]).toEqual([2, 'closed', ''])
    connection.dialNow()
    page.wires[2]!.onopen?.()
    await settle()
    expect(page.wires[2]!.sent[0]).toEqual({ id: 1, hello: {} })
  })

  it('does not dial while offline', async () => {
    const connection = connect()
    await page.wires[0]!.welcome()
    page.isOnline = false
    connection.goneOffline()
    await vi.advanceTimersByTimeAsync(60_000)
    expect([page.wires.length, statuses.at(-1)]).toEqual([1, 'offline'])
    connection.wake()
    expect(page.wires.length).toBe(2)
    expect(page.wires[0]!.closed).toBe(3001)
  })
})

it('backs off with full jitter up to half a minute', () => {
  expect([backoff(0, 1), backoff(3, 1), backoff(50, 1), backoff(5, 0)]).toEqual([500, 4000, 30_000, 0])
})

it('knows which closes are final', () => {
  expect([1000, 1001, 1006, 4001, 4499, 5000].every(comesBack)).toBe(true)
  expect([1007, 1009, 4500, 4501, 4502, 4999].some(comesBack)).toBe(false)
})
