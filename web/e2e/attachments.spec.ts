/** Stories of files: what is attached is seen and saved, by who may read the room, and never by a token in an address. */
import { readFileSync } from 'node:fs'
import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Browser, type Page } from '@playwright/test'
import { fill } from './history.ts'
import { fits, person as anyPerson, troubles, visit } from './people.ts'
import { png } from './pictures.ts'
import { Stack } from './stack.ts'

let stack: Stack
const person = (browser: Browser, gateway: number, room: string, options = {}) => anyPerson(stack, browser, gateway, room, options)

test.beforeAll(async () => {
  stack = await new Stack().start()
})
test.afterAll(() => stack.stop())
test.beforeEach(() => {
  troubles.length = 0
})
test.afterEach(() => expect(troubles).toEqual([]))

async function scan(page: Page, state: string) {
  const { violations } = await new AxeBuilder({ page }).options({ rules: { 'target-size': { enabled: true } } }).analyze()
  expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html]), state).toEqual([])
}

/** Somebody without a page brings files to a room of the other gateway and says `text` with them. */
async function bring(room: string, text: string, files: Record<string, Buffer>) {
  const ask = async (path: string, init: RequestInit, token = '') => {
    const answer = await fetch(stack.urls[1]! + path, { method: 'POST', ...init, headers: { ...init.headers, ...(token && { authorization: `Bearer ${token}` }) } })
    expect(answer.status, await answer.clone().text()).toBeLessThan(300)
    return (await answer.json()) as Record<string, string>
  }
  const { token } = await ask('/v1/tokens', {})
  const attachments: string[] = []
  for (const [name, bytes] of Object.entries(files)) {
    const kept = await ask(`/v1/rooms/${room}/attachments?name=${encodeURIComponent(name)}`, { body: new Uint8Array(bytes) }, token)
    attachments.push(kept.id!)
  }
  const headers = { 'content-type': 'application/json' }
  await ask(`/v1/rooms/${room}/messages`, { headers, body: JSON.stringify({ text, attachments }) }, token)
}

const file = (page: Page, name: string) => page.locator('.file', { has: page.getByRole('button', { name: new RegExp(`Download .?${name}`) }) })
const picture = (page: Page) => page.locator('.picture__image')

test('S6: a picture is seen in a box of its declared size, which is there before the picture', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-picture')
  const asked: { url: string; authorization: string | undefined }[] = []
  let letCome = () => {}
  const held = new Promise<void>((come) => (letCome = come))
  await ada.route(/\/attachments\//, async (route) => {
    asked.push({ url: route.request().url(), authorization: route.request().headers().authorization })
    await held
    await route.continue()
  })
  await bring('s6-picture', '', { 'cat.png': png(640, 480) })
  await expect.poll(() => asked.length).toBe(1)
  const place = () => ada.locator('.picture').boundingBox()
  const before = await place()
  expect([before!.width, before!.height]).toEqual([384, 288])
  letCome()
  await expect(picture(ada)).toHaveJSProperty('naturalWidth', 640)
  expect(await place()).toEqual(before)
  await expect(ada.locator('.message__text')).toHaveCount(0)
  const token = await ada.evaluate(() => localStorage.getItem('parlor.token'))
  expect(asked[0]!.authorization).toBe(`Bearer ${token}`)
  expect(asked[0]!.url).not.toContain(token!)
  await scan(ada, 'a picture')
})

test('S6: other files have a name, a kind and a size, and are saved as they were brought', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-files')
  const bytes = Buffer.from('<script>document.title = "broken"</script>\n'.repeat(300))
  await bring('s6-files', 'look at this', { 'the notes.html': bytes, 'b.png': png(20, 10) })
  await expect(ada.locator('.message__text')).toHaveText('look at this')
  await expect(file(ada, 'the notes.html')).toContainText('Text, 12.9 kB')
  const coming = ada.waitForEvent('download')
  await file(ada, 'the notes.html').getByRole('button').click()
  const saved = await coming
  expect(saved.suggestedFilename()).toBe('the notes.html')
  expect(readFileSync(await saved.path())).toEqual(bytes)
  await scan(ada, 'files')
})

test('S6: a picture that goes out of the list is let go, and fetched again when it is back', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-gone')
  await ada.evaluate(() => {
    const held = ((window as unknown as { held: Set<string> }).held = new Set<string>())
    const { createObjectURL, revokeObjectURL } = URL
    URL.createObjectURL = (blob) => {
      const url = createObjectURL.call(URL, blob)
      held.add(url)
      return url
    }
    URL.revokeObjectURL = (url) => {
      held.delete(url)
      revokeObjectURL.call(URL, url)
    }
  })
  const held = () => ada.evaluate(() => (window as unknown as { held: Set<string> }).held.size)
  await bring('s6-gone', 'first', { 'cat.png': png(64, 48) })
  await expect(picture(ada)).toBeVisible()
  expect(await held()).toBe(1)
  await fill(browser, stack.urls[1]!, 's6-gone', 60)
  await expect.poll(held).toBe(0)
  await ada.locator('.timeline__scroll').evaluate((list) => list.scrollTo(0, 0))
  await expect(picture(ada)).toBeVisible()
  expect(await held()).toBe(1)
})

test('S6: a file that does not come is said so in words, and can be asked for again', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-fails')
  await ada.route(/\/attachments\//, (route) => route.fulfill({ status: 503, body: '' }))
  await bring('s6-fails', '', { 'cat.png': png(300, 200), 'a.txt': Buffer.from('a') })
  await expect(ada.getByRole('button', { name: 'This picture did not come. Retry' })).toBeVisible()
  await file(ada, 'a.txt').getByRole('button').click()
  await expect(file(ada, 'a.txt').getByRole('alert')).toHaveText('This file did not come.')
  await scan(ada, 'files that did not come')
  await ada.unroute(/\/attachments\//)
  await ada.getByRole('button', { name: 'This picture did not come. Retry' }).click()
  await expect(picture(ada)).toHaveJSProperty('naturalWidth', 300)
})

test('S6: files keep within a phone, also from right to left', async ({ browser }) => {
  const phone = await browser.newContext({ viewport: { width: 390, height: 780 }, colorScheme: 'dark' })
  const ada = await visit(await phone.newPage(), stack.urls[0]!, '/r/s6-phone?lang=ar-XB')
  await bring('s6-phone', '', { 'wide.png': png(2000, 500), [`${'long'.repeat(30)}.txt`]: Buffer.from('a') })
  await expect(picture(ada)).toHaveJSProperty('naturalWidth', 2000)
  await expect(ada.locator('.file__name')).toHaveText(`${'long'.repeat(30)}.txt`)
  await expect(ada.locator('html')).toHaveAttribute('dir', 'rtl')
  expect(await fits(ada)).toBe(true)
  for (const each of await ada.locator('.file').all()) {
    const { x, width } = (await each.boundingBox())!
    expect([x >= 0, x + width <= 390]).toEqual([true, true])
  }
  await scan(ada, 'files on a phone')
})
