/** People at their browsers, and what goes wrong in them. */
import { expect, type Browser, type BrowserContextOptions, type Page } from '@playwright/test'
import type { Stack } from './stack.ts'

/** What no page may do, whatever is said in it: fail, ask, reach out, break its policy. Empty it before each story. */
export const troubles: string[] = []

/** A person with a browser of their own, in `room` by way of a gateway. */
export async function person(stack: Stack, browser: Browser, gateway: number, room: string, options: BrowserContextOptions = {}): Promise<Page> {
  const page = await (await browser.newContext(options)).newPage()
  return visit(page, stack.urls[gateway]!, `/r/${room}`)
}

/** Opens a room's page and waits until its reader is in the room. */
export async function visit(page: Page, origin: string, path: string): Promise<Page> {
  watch(page, origin)
  await page.goto(origin + path)
  await expect(page.locator('.tag--you')).toHaveCount(1)
  return page
}

export function watch(page: Page, origin: string) {
  page.on('pageerror', (error) => troubles.push(error.message))
  page.on('dialog', (dialog) => {
    troubles.push(`dialog: ${dialog.message()}`)
    void dialog.dismiss()
  })
  page.on('request', (request) => {
    if (!request.url().replace(/^blob:/, '').startsWith(origin)) troubles.push(`request to ${request.url()}`)
  })
  page.on('console', (line) => {
    if (/Content Security Policy|TrustedHTML|TrustedScript/.test(line.text())) troubles.push(line.text())
  })
}

/** Writes and sends. */
export async function say(page: Page, text: string) {
  await page.locator('#message-box').fill(text)
  await page.locator('#message-box').press('Enter')
}

/** The texts of the messages that are drawn. */
export const texts = (page: Page) => page.locator('.message__text')

export const box = (page: Page) => page.locator('#message-box')

/** The name by which the others know who sits there. */
export const nameOf = (page: Page) => page.locator('li.member', { has: page.locator('.tag--you') }).locator('.member__name').innerText()

/** The browser says that the page is out of sight, or in it again. */
export const turn = (page: Page, visibility: 'hidden' | 'visible') =>
  page.evaluate((now) => {
    Object.defineProperty(document, 'visibilityState', { value: now, configurable: true })
    document.dispatchEvent(new Event('visibilitychange'))
  }, visibility)

/** Whether nothing of the page is beside the window. */
export const fits = (page: Page) => page.evaluate(() => document.documentElement.scrollWidth <= innerWidth)

/** Others in `room`, with a WebSocket each in this page's browser. `hello` says who they are. */
export async function others(page: Page, room: string, hellos: object[]) {
  await page.evaluate(
    ([name, each]) =>
      Promise.all(
        each.map(
          (hello) =>
            new Promise<void>((done) => {
              const socket = new WebSocket(`ws://${location.host}/ws`)
              // Kept, or the browser collects it.
              ;(((window as unknown as { others: WebSocket[] }).others ??= [])).push(socket)
              socket.onopen = () => socket.send(JSON.stringify({ id: 1, hello }))
              socket.onmessage = ({ data }) => {
                if (String(data).includes('"welcome"')) socket.send(JSON.stringify({ id: 2, join: { room: name } }))
                if (String(data).includes('"joined"')) done()
              }
            }),
        ),
      ),
    [room, hellos] as const,
  )
}

/** They go, one or all. */
export const leave = (page: Page, most = Infinity) =>
  page.evaluate((count) => (window as unknown as { others: WebSocket[] }).others.splice(0, count).forEach((socket) => socket.close(1000)), Math.min(most, 1000))

/** One of them speaks. */
export const theySay = (page: Page, room: string, text: string, more: object = {}) =>
  page.evaluate(
    ([name, words, rest]) => {
      const send = { room: name, client_id: crypto.randomUUID(), text: words, ...(rest as object) }
      ;(window as unknown as { others: WebSocket[] }).others[0]!.send(JSON.stringify({ id: 9, send }))
    },
    [room, text, more] as const,
  )
