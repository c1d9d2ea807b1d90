/** Stories of the 2017 sample's clients: real ones, old and new, by every transport, against the real stack. */
import { readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { expect, test } from '@playwright/test'
import { io as io4, type Socket } from 'socket.io-client'
import io2 from 'socket.io-client-2'
import { Stack } from './stack.ts'

const libraries = { '2.x': io2, '4.x': io4 }
type Version = keyof typeof libraries
const versions = Object.keys(libraries) as Version[]
const ways = { websocket: ['websocket'], polling: ['polling'], 'polling, then websocket': ['polling', 'websocket'] }

let stack: Stack
const sockets: Socket[] = []

test.beforeAll(async () => {
  stack = await new Stack('--allowed-origins', '*').start()
})
test.afterAll(async () => {
  await stack.stop()
})
test.afterEach(() => {
  for (const socket of sockets.splice(0)) socket.disconnect()
})

interface Member {
  socket: string
  username: string
  avatar: string
}
interface Message {
  date: string
  username: string
  avatar: string
  message: string
}

/** One of the sample's clients, which does with the five events what the sample's page did. */
class Client {
  readonly socket: Socket
  members: Record<string, Member> = {}
  messages: Message[] = []
  /** The names of the events that it heard. */
  readonly heard: string[] = []
  readonly disconnects: string[] = []

  constructor(version: Version, url: string, transports: string[]) {
    this.socket = libraries[version](url, { transports, forceNew: true })
    sockets.push(this.socket)
    const on = (event: string, act: (argument: any) => void) =>
      this.socket.on(event, (argument) => {
        this.heard.push(event)
        act(argument)
      })
    on('member_history', (members) => (this.members = members))
    on('message_history', (messages) => (this.messages = messages))
    on('member_add', (member: Member) => (this.members[member.socket] = member))
    on('member_delete', (socket: string) => delete this.members[socket])
    on('messages', (message) => this.messages.push(message))
    this.socket.on('disconnect', (why: string) => this.disconnects.push(why))
  }

  /** Waits until it is in the room. */
  async isIn(): Promise<this> {
    await expect.poll(() => this.socket.id !== undefined && this.socket.id in this.members).toBe(true)
    return this
  }

  get me(): Member {
    return this.members[this.socket.id!]!
  }

  get transport(): string {
    return this.socket.io.engine.transport.name
  }

  /** Waits for the answer to what it says. */
  say(text: unknown): Promise<any> {
    return new Promise((answered) => this.socket.emit('send', text, answered))
  }

  /** What it has heard of `texts`, each as often as it was said. */
  of(texts: string[]): string[] {
    return this.messages.map(({ message }) => message).filter((text) => texts.includes(text))
  }
}

for (const version of versions) {
  for (const [way, transports] of Object.entries(ways)) {
    test(`a client ${version} by ${way} comes, talks, hears and goes`, async () => {
      const other = await new Client(version === '2.x' ? '4.x' : '2.x', stack.urls[1]!, ['websocket']).isIn()
      const ada = await new Client(version, stack.urls[0]!, transports).isIn()
      expect(ada.heard.slice(0, 2)).toEqual(['member_history', 'message_history'])
      expect(ada.me).toEqual({ socket: ada.socket.id, username: expect.any(String), avatar: expect.stringMatching(/^\/avatars\/.*\.svg$/) })
      expect((await fetch(new URL(ada.me.avatar, stack.urls[0]))).status).toBe(200)
      await expect.poll(() => ada.transport).toBe(transports.at(-1))

      // The other knows Ada by another socket, and by one alone.
      const me = ada.me
      const hers = () => Object.values(other.members).filter(({ username }) => username === me.username)
      await expect.poll(() => hers().length).toBe(1)

      const texts = [1, 2, 3].map((n) => `${n} by ${version} and ${way} ü 🦀`)
      for (const text of texts.slice(0, 2)) ada.socket.emit('send', text)
      expect((await ada.say(texts[2])).sent.seq).toEqual(expect.any(Number))
      for (const client of [ada, other]) await expect.poll(() => client.of(texts)).toEqual(texts)
      const [message] = other.messages.filter(({ message }) => message === texts[0])
      expect(message).toEqual({ date: expect.any(String), username: me.username, avatar: me.avatar, message: texts[0] })
      expect(Math.abs(Date.parse(message!.date) - Date.now())).toBeLessThan(60_000)
      const answer = [`answer to ${texts[0]}`]
      other.socket.emit('send', answer[0])
      await expect.poll(() => ada.of(answer)).toEqual(answer)

      ada.socket.disconnect()
      await expect.poll(() => hers().length).toBe(0)
    })
  }

  test(`what a client ${version} may not say is answered if it asks, and never ends it`, async () => {
    const ada = await new Client(version, stack.urls[0]!, ['polling']).isIn()
    for (const [said, code] of [[7, 'INVALID'], [null, 'INVALID'], [' ', 'INVALID'], ['x'.repeat(9000), 'TOO_LARGE']] as const) {
      ada.socket.emit('send', said)
      expect((await ada.say(said)).error).toMatchObject({ code })
    }
    ada.socket.emit('dance', 'hi')
    expect((await ada.say(`still here ${version}`)).sent).toBeDefined()
    expect(ada.disconnects).toEqual([])
  })

  test(`a gateway that is asked to stop sends its clients ${version} elsewhere`, async () => {
    stack.balanced.order = [0, 1]
    const clients = [['websocket'], ['polling']].map((way) => new Client(version, stack.balanced.url, way))
    for (const client of clients) await client.isIn()
    const before = [`before the deploy of ${version}`]
    await clients[0]!.say(before[0])
    stack.balanced.order = [1, 0]
    expect(await stack.gateways[0]!.end()).toBe(0)
    for (const client of clients) {
      await expect.poll(() => client.heard.filter((event) => event === 'message_history').length, { timeout: 30_000 }).toBe(2)
      expect(client.of(before)).toEqual(before)
      expect((await client.say('here again')).sent).toBeDefined()
    }
    await stack.gateways[0]!.start()
  })
}

test('what a client says while the room service is away is said when it is back', async () => {
  const ada = await new Client('2.x', stack.urls[0]!, ['websocket']).isIn()
  const texts = ['patience', 'is a virtue']
  await stack.roomServices[0]!.kill()
  const answers = texts.map((text) => ada.say(text))
  await stack.roomServices[0]!.start()
  for (const answer of answers) expect((await answer).sent).toBeDefined()
  await expect.poll(() => ada.of(texts)).toEqual(texts)
  expect(ada.disconnects).toEqual([])
})

test('the old page and the new one talk with each other', async ({ browser }) => {
  const page = await servePage()
  const old = await (await browser.newContext()).newPage()
  const fresh = await (await browser.newContext()).newPage()
  try {
    await old.goto(page.url)
    await fresh.goto(`${stack.urls[1]}/r/lobby`)
    await expect(old.locator('.member', { hasText: '(me)' })).toHaveCount(1)
    const name = await fresh.locator('li.member', { hasText: 'you' }).locator('.member__name').innerText()
    const hers = old.locator('.member', { hasText: name })
    await expect(hers).toHaveCount(1)
    const width = (img: HTMLImageElement) => img.decode().then(() => img.naturalWidth)
    expect(await hers.locator('img').evaluate(width), 'her picture is found').toBeGreaterThan(0)

    await old.getByLabel('Say').fill('<b>hello</b> from 2017')
    await old.getByLabel('Say').press('Enter')
    await expect(fresh.locator('.message__text').last()).toHaveText('<b>hello</b> from 2017')
    await fresh.getByLabel('Your message').fill('welcome')
    await fresh.getByLabel('Your message').press('Enter')
    await expect(old.locator('.message span').last()).toHaveText('welcome')
    await expect(old.locator('.message', { hasText: '<b>hello</b> from 2017' })).toHaveCount(1)
    await expect(old.locator('.message time').last()).toHaveText(`${new Date().getFullYear()}`)

    await fresh.close()
    await expect(hers).toHaveCount(0)
  } finally {
    page.server.close()
  }
})

/** Serves the old page at an origin of its own. */
async function servePage(): Promise<{ server: Server; url: string }> {
  const installed = createRequire(import.meta.url)
  const page = readFileSync(new URL('old-page.html', import.meta.url), 'utf8').replaceAll('__CHAT__', stack.urls[0]!)
  const files: Record<string, [type: string, text: string]> = {
    '/': ['text/html', page],
    '/vue.js': ['text/javascript', readFileSync(installed.resolve('vue-2/dist/vue.min.js'), 'utf8')],
    '/socket.io.js': ['text/javascript', readFileSync(installed.resolve('socket.io-client-2/dist/socket.io.js'), 'utf8')],
  }
  const server = createServer((request, response) => {
    const [type, text] = files[request.url!] ?? []
    response.writeHead(type ? 200 : 404, { 'content-type': type ?? 'text/plain' }).end(text)
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` }
}
