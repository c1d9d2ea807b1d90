/** A way between browsers and a gateway that can be broken. */
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

export class FaultyWay {
  url = ''
  /** How many connections were tried. */
  tried = 0
  private refusing = false
  private stalled = false
  private readonly server: Server
  private readonly pairs = new Set<{ browser: Socket; gateway: Socket }>()

  constructor(gateway: string) {
    this.server = createServer((browser) => {
      this.tried++
      browser.on('error', () => browser.destroy())
      if (this.refusing) return void browser.destroy()
      const pair = { browser, gateway: connect(Number(new URL(gateway).port), '127.0.0.1') }
      this.pairs.add(pair)
      browser.pipe(pair.gateway)
      pair.gateway.on('data', (data) => browser.write(data))
      if (this.stalled) pair.gateway.pause()
      for (const [one, other] of [[browser, pair.gateway], [pair.gateway, browser]] as const) {
        one.on('error', () => one.destroy())
        one.on('close', () => {
          other.destroy()
          this.pairs.delete(pair)
        })
      }
    })
  }

  async open(): Promise<this> {
    await new Promise<void>((done) => this.server.listen(0, '127.0.0.1', done))
    this.url = `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
    return this
  }

  /** Breaks all connections, and lets no new one through until it is mended. */
  cut() {
    this.refusing = true
    for (const { browser, gateway } of this.pairs) {
      browser.destroy()
      gateway.destroy()
    }
  }

  /** What the gateway says waits until it is mended; what browsers say goes through. */
  stall() {
    this.stalled = true
    for (const { gateway } of this.pairs) gateway.pause()
  }

  mend() {
    this.refusing = this.stalled = false
    for (const { gateway } of this.pairs) gateway.resume()
  }

  close() {
    this.cut()
    this.server.close()
  }
}
