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
    if (!request.url().startsWith(origin)) troubles.push(`request to ${request.url()}`)
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
