/** A real Parlor for one file of stories: two gateways, two room services, a private Redis, all on free ports. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'

const OPERATORS_TOKEN = 'a token of the operators'
const programs = resolve(process.env.CARGO_TARGET_DIR ?? '../target', 'debug')

class Part {
  private process: ChildProcess | undefined
  private readonly program: string
  private readonly args: string[]
  private readonly probe: string

  constructor(program: string, args: string[], probe: string) {
    this.program = program
    this.args = args
    this.probe = probe
  }

  async start() {
    this.process = spawn(this.program, this.args, { stdio: 'ignore' })
    await eventually(`${this.program} is ready`, async () => !this.probe || (await fetch(this.probe)).ok)
  }

  async kill() {
    const process = this.process
    this.process = undefined
    if (!process || process.exitCode !== null) return
    const ended = new Promise((end) => process.once('exit', end))
    process.kill('SIGKILL')
    await ended
  }

  /** Asks it to end, as a deploy does, and gives its exit code. */
  async end(): Promise<number | null> {
    const process = this.process!
    this.process = undefined
    const ended = new Promise<number | null>((end) => process.once('exit', end))
    process.kill('SIGTERM')
    return ended
  }
}

export class Stack {
  readonly urls: string[] = []
  /** Where operators ask the first room service. */
  private operators = ''
  readonly gateways: Part[] = []
  readonly roomServices: Part[] = []
  redis: Part | undefined
  /** One address before both gateways. It sends new connections to the first in its order, and may refuse WebSockets. */
  readonly balanced = { url: '', order: [0, 1], webSockets: true }
  private balancer: Server | undefined
  private readonly folder = mkdtempSync(join(tmpdir(), 'parlor-'))
  private readonly gatewayFlags: string[]
  /** More flags for the room services, to be set before the start. */
  readonly roomServiceFlags: string[] = []

  constructor(...gatewayFlags: string[]) {
    this.gatewayFlags = gatewayFlags
  }

  async start(): Promise<this> {
    const redis = await freePort()
    const attachments = join(this.folder, 'attachments')
    mkdirSync(attachments)
    const args = ['--port', `${redis}`, '--bind', '127.0.0.1', '--save', '', '--dir', this.folder]
    this.redis = new Part('redis-server', args, '')
    await this.redis.start()
    for (let n = 0; n < 2; n++) {
      const [door, admin, browsers, gatewayAdmin] = [await freePort(), await freePort(), await freePort(), await freePort()]
      const roomService = new Part(
        join(programs, 'room-service'),
        ['--listen', `127.0.0.1:${door}`, '--admin-listen', `127.0.0.1:${admin}`]
          .concat(['--redis-url', `redis://127.0.0.1:${redis}`, '--leave-grace', '2s', '--admin-token', OPERATORS_TOKEN])
          .concat(['--attachments', `file://${attachments}`])
          .concat(this.roomServiceFlags),
        `http://127.0.0.1:${admin}/readyz`,
      )
      const gateway = new Part(
        join(programs, 'gateway'),
        ['--listen', `127.0.0.1:${browsers}`, '--admin-listen', `127.0.0.1:${gatewayAdmin}`]
          .concat(['--room-service', `http://127.0.0.1:${door}`, '--web-root', resolve('dist'), '--drain', '10s'])
          .concat(['--attachments', `file://${attachments}`])
          .concat(this.gatewayFlags),
        `http://127.0.0.1:${gatewayAdmin}/readyz`,
      )
      await roomService.start()
      await gateway.start()
      this.roomServices.push(roomService)
      this.gateways.push(gateway)
      this.urls.push(`http://127.0.0.1:${browsers}`)
      this.operators ||= `http://127.0.0.1:${admin}`
    }
    const balancer = createServer((browser) => {
      if (!this.balanced.webSockets) return this.withoutWebSockets(browser)
      const to = connect(Number(new URL(this.urls[this.balanced.order[0]!]!).port), '127.0.0.1')
      for (const [one, other] of [[browser, to], [to, browser]] as const) one.pipe(other).on('error', () => one.destroy())
    })
    await new Promise<void>((done) => balancer.listen(0, '127.0.0.1', done))
    this.balanced.url = `http://127.0.0.1:${(balancer.address() as AddressInfo).port}`
    this.balancer = balancer
    return this
  }

  /** As a proxy that knows nothing of upgrades: each request goes its own way, to one gateway after the other. */
  private withoutWebSockets(browser: Socket) {
    browser.once('data', (head) => {
      if (/^upgrade: *websocket/im.test(head.toString('latin1'))) {
        browser.end('HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n')
        return
      }
      this.balanced.order.reverse()
      const to = connect(Number(new URL(this.urls[this.balanced.order[0]!]!).port), '127.0.0.1')
      to.write(head)
      for (const [one, other] of [[browser, to], [to, browser]] as const) one.pipe(other).on('error', () => one.destroy())
      // What breaks on one side breaks on the other.
      for (const [one, other] of [[browser, to], [to, browser]] as const) one.on('close', () => other.destroy())
    })
    browser.on('error', () => browser.destroy())
  }

  /** What an operator does, as with curl. */
  async operate(method: string, path: string, body: object = {}) {
    const headers = { authorization: `Bearer ${OPERATORS_TOKEN}` }
    const init = method === 'DELETE' ? { method, headers } : { method, headers, body: JSON.stringify(body) }
    const answer = await fetch(`${this.operators}/v1/${path}`, init)
    if (!answer.ok) throw new Error(await answer.text())
  }

  async stop() {
    this.balancer?.close()
    for (const part of [...this.gateways, ...this.roomServices, this.redis]) await part?.kill()
    rmSync(this.folder, { recursive: true, force: true })
  }
}

async function eventually(what: string, probe: () => Promise<boolean>) {
  for (const end = Date.now() + 20_000; Date.now() < end; ) {
    if (await probe().catch(() => false)) return
    await new Promise((next) => setTimeout(next, 50))
  }
  throw new Error(`not in 20 s: ${what}`)
}

/** Not one of those that the system gives to connections, so that it is still free when it is bound, and bound again. */
function freePort(): Promise<number> {
  const port = 10_000 + Math.floor(Math.random() * 22_000)
  return new Promise((done) => {
    const server = createServer().once('error', () => done(freePort()))
    server.listen(port, '127.0.0.1', () => server.close(() => done(port)))
  })
}
