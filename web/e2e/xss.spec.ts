/**
 * Whatever is said in a room, and whatever people call themselves, is data: over 500 attacks as texts, names of members,
 * names of files, reactions and addresses open no dialog, ask nothing of another host and leave no element of their own.
 */
import { createHmac } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test, type Page } from '@playwright/test'
import { PAYLOADS } from './payloads.ts'
import { box, others, troubles, visit, watch } from './people.ts'
import { Stack } from './stack.ts'

const SECRET = 'the secret of a provider that lets people choose their names'
/** So many at a time that all of them are drawn, whatever the list leaves out beyond the window. */
const AT_A_TIME = 8

const folder = mkdtempSync(join(tmpdir(), 'parlor-'))
let stack: Stack

test.beforeAll(async () => {
  writeFileSync(join(folder, 'secret'), SECRET)
  stack = new Stack()
  stack.roomServiceFlags.push('--auth', 'guest,jwt', '--jwt-algorithms', 'HS256', '--jwt-key-file', join(folder, 'secret'))
  await stack.start()
})
test.afterAll(async () => {
  await stack.stop()
  rmSync(folder, { recursive: true, force: true })
})
test.beforeEach(() => {
  troubles.length = 0
})

/** What a provider says of who chose this name. */
function signedIn(sub: string, name: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const said = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, name, exp: Math.floor(Date.now() / 1000) + 3600 })}`
  return `${said}.${createHmac('sha256', SECRET).update(said).digest('base64url')}`
}

/** As much of it as a name may have. */
function asName(payload: string): string {
  let name = payload
  while (Buffer.byteLength(name) > 128) name = [...name].slice(0, -1).join('')
  return name
}

async function sayAs(token: string, room: string, text: string) {
  const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' }
  const answer = await fetch(`${stack.urls[1]}/v1/rooms/${room}/messages`, { method: 'POST', headers, body: JSON.stringify({ text }) })
  expect(answer.status, text).toBe(200)
}

/** A server that lets hostile words stand wherever a message may have some. */
const poison = (page: Page) =>
  page.routeWebSocket(/\/ws$/, (browser) => {
    const server = browser.connectToServer()
    server.onMessage((data) => {
      const frame = JSON.parse(String(data)) as { message?: Record<string, unknown> }
      if (frame.message) {
        const hostile = PAYLOADS[(frame.message.seq as number) % PAYLOADS.length]!
        Object.assign(frame.message, {
          mentions: [hostile],
          attachments: [{ id: 'f', name: hostile, type: hostile, size: 1 }, { id: hostile, name: hostile, type: 'image/png', size: 1, width: 1, height: 1 }],
          reactions: [{ emoji: hostile, members: [hostile] }],
        })
      }
      browser.send(JSON.stringify(frame))
    })
  })

/** What an attack would have left in the page: elements, handlers or addresses that we never draw. */
const traces = (page: Page) =>
  page.evaluate(() => {
    const foreign = [...document.querySelectorAll('#app *')].filter((element) => {
      const handlers = [...element.attributes].some(({ name }) => name.startsWith('on') || name === 'srcdoc')
      // A picture's box has the numbers of its size.
      const styled = element.matches('.message [style]:not(.picture), .member [style], .notice [style]')
      const strange = element.matches('script, iframe, object, embed, style, link, base, meta, form[action], video, audio, math, marquee')
      const picture = element instanceof HTMLImageElement && !/^(\/avatars\/|blob:)/.test(element.getAttribute('src') ?? '')
      const address = element instanceof HTMLAnchorElement && !/^(https?|mailto):/.test(element.href)
      return handlers || styled || strange || picture || address
    })
    return foreign.map((element) => element.outerHTML.slice(0, 200))
  })

test('what is said, by whoever with whatever name, harms nobody', async ({ browser }) => {
  test.setTimeout(300_000)
  expect(new Set(PAYLOADS).size).toBeGreaterThanOrEqual(500)
  const page = await (await browser.newContext()).newPage()
  await poison(page)
  const ada = await visit(page, stack.urls[0]!, '/r/xss')
  for (let start = 0; start < PAYLOADS.length; start += AT_A_TIME) {
    const some = PAYLOADS.slice(start, start + AT_A_TIME)
    for (const [n, payload] of some.entries()) {
      const name = PAYLOADS[(start + n + PAYLOADS.length / 2) % PAYLOADS.length | 0]!
      await sayAs(signedIn(`attacker-${start + n}`, asName(name)), 'xss', payload)
    }
    const end = `end ${start}`
    await sayAs(signedIn('witness', 'Witness'), 'xss', end)
    await expect(ada.locator('.message__text').last()).toHaveText(end)
    expect(await traces(ada)).toEqual([])
  }
  expect(troubles).toEqual([])

  // Who comes later reads it all from history, and the pages that are loaded as one goes up.
  const bob = await visit(await (await browser.newContext()).newPage(), stack.urls[1]!, '/r/xss')
  await expect(bob.locator('.message__text').last()).toHaveText(/^end /)
  expect(await traces(bob)).toEqual([])
  expect(troubles).toEqual([])
})

test('a list of members with hostile names harms nobody, nor does one’s own name', async ({ browser }) => {
  const names = [...new Set(PAYLOADS.map(asName))]
  const crowd = await visit(await (await browser.newContext()).newPage(), stack.urls[1]!, '/r/elsewhere')
  const page = await (await browser.newContext()).newPage()
  await page.addInitScript((token) => localStorage.setItem('parlor.token', token), signedIn('me', '"><img src=x onerror=alert(1)>'))
  const ada = await visit(page, stack.urls[0]!, '/r/names')
  const MOST = 150
  await others(crowd, 'names', names.slice(0, MOST).map((name, n) => ({ token: signedIn(`member-${n}`, name) })))
  await expect(ada.locator('li.member')).toHaveCount(MOST + 1)
  expect(await traces(ada)).toEqual([])
  await box(ada).fill('from me')
  await box(ada).press('Enter')
  await expect(ada.locator('.message:not(.message--pending) .message__author')).toHaveText(/onerror/)
  expect(await traces(ada)).toEqual([])
  expect(troubles).toEqual([])
})

test('a hostile address is no room, and a hostile draft is only text', async ({ browser }) => {
  const page = await browser.newPage()
  watch(page, stack.urls[0]!)
  const some = PAYLOADS.filter((_, n) => n % 12 === 0)
  for (const payload of some) {
    await page.goto(`${stack.urls[0]}/r/${encodeURIComponent(payload)}?lang=${encodeURIComponent(payload)}#${encodeURIComponent(payload)}`)
    await expect(page.locator('.empty__title, pre, body:empty').first()).toBeAttached()
  }
  await visit(page, stack.urls[0]!, '/r/draft')
  for (const payload of some) {
    await box(page).fill(payload)
    await page.keyboard.press('Control+k')
    await page.getByRole('combobox').fill(payload)
    expect(await traces(page)).toEqual([])
    await page.keyboard.press('Escape')
    await expect(page.locator('dialog')).toHaveCount(0)
  }
  expect(troubles).toEqual([])
})
