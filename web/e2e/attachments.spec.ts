/** Stories of files: what is attached is seen and saved, by who may read the room, and never by a token in an address. */
import { readFileSync } from 'node:fs'
import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Browser, type Page } from '@playwright/test'
import { fill } from './history.ts'
import { box, fits, person as anyPerson, troubles, visit } from './people.ts'
import { png } from './pictures.ts'
import { Stack } from './stack.ts'

let stack: Stack
const person = (browser: Browser, gateway: number, room: string, options = {}) => anyPerson(stack, browser, gateway, room, options)

test.beforeAll(async () => {
  stack = new Stack()
  stack.roomServiceFlags.push('--max-attachment-bytes', '3000000')
  await stack.start()
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

/** Picks files as a person does by the dialog of the browser. */
async function pick(page: Page, files: { name: string; mimeType: string; buffer: Buffer }[]) {
  const dialog = page.waitForEvent('filechooser')
  await page.getByRole('button', { name: 'Attach files' }).click()
  await (await dialog).setFiles(files)
}

/** Drags files over the page, and lets them go if `drop`. */
const drag = (page: Page, names: readonly string[], drop: boolean) =>
  page.evaluate(
    ([each, letGo]) => {
      const dataTransfer = new DataTransfer()
      for (const name of each) dataTransfer.items.add(new File(['dropped'], name, { type: 'text/plain' }))
      document.body.dispatchEvent(new DragEvent(letGo ? 'drop' : 'dragover', { dataTransfer, bubbles: true, cancelable: true }))
    },
    [names, drop] as const,
  )

const upload = (page: Page, name: string) => page.locator('.upload', { hasText: name })
const sendButton = (page: Page) => page.getByRole('button', { name: 'Send', exact: true })
const text = (name: string, bytes: number) => ({ name, mimeType: 'text/plain', buffer: Buffer.alloc(bytes, 'a line of text\n') })

test('S6: files alone are sent, and a picture is seen by others', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-send')
  const bob = await person(browser, 1, 's6-send')
  await pick(ada, [{ name: 'cat.png', mimeType: 'image/png', buffer: png(64, 48) }, text('notes.txt', 1500)])
  await expect(upload(ada, 'cat.png').locator('img')).toHaveJSProperty('naturalWidth', 64)
  await expect(ada.getByRole('progressbar')).toHaveCount(0)
  await scan(ada, 'files to send')
  await box(ada).press('Enter')
  await expect(ada.locator('.upload')).toHaveCount(0)
  for (const page of [ada, bob]) {
    await expect(picture(page)).toHaveJSProperty('naturalWidth', 64)
    await expect(file(page, 'notes.txt')).toContainText('Text, 1.5 kB')
    await expect(page.locator('.message')).toHaveCount(1)
  }
  await expect(sendButton(ada)).toBeDisabled()
})

test('S6: a bar shows how far a file has gone, and what is not there yet cannot be sent', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-progress')
  const line = await ada.context().newCDPSession(ada)
  await line.send('Network.enable')
  await line.send('Network.emulateNetworkConditions', { offline: false, latency: 0, downloadThroughput: -1, uploadThroughput: 400_000 })
  await ada.evaluate(() => {
    const seen = ((window as unknown as { seen: number[] }).seen = [])
    new MutationObserver(() => {
      const now = Number(document.querySelector('.upload__progress')?.getAttribute('aria-valuenow') ?? 0)
      if (now !== (seen.at(-1) ?? 0)) seen.push(now as never)
    }).observe(document.body, { subtree: true, childList: true, attributes: true, attributeFilter: ['aria-valuenow'] })
  })
  await box(ada).fill('with this')
  await pick(ada, [text('long.txt', 1_500_000)])
  await expect(ada.getByRole('progressbar', { name: /Uploading .*long.txt/ })).toBeVisible()
  await expect(sendButton(ada)).toBeDisabled()
  await scan(ada, 'a file on its way')
  await expect(ada.getByRole('progressbar')).toHaveCount(0)
  const seen = await ada.evaluate(() => (window as unknown as { seen: number[] }).seen)
  const rising = seen.filter((now) => now > 0)
  expect(rising.length).toBeGreaterThan(2)
  expect(rising).toEqual([...rising].sort((a, b) => a - b))
  await sendButton(ada).click()
  await expect(ada.locator('.message:not(.message--pending)')).toContainText(['with this'])
  await expect(file(ada, 'long.txt')).toContainText('1.5 MB')
})

test('S6: a file that is on its way can be given up', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-cancel')
  let letGo = () => {}
  const held = new Promise<void>((go) => (letGo = go))
  await ada.route(/\/attachments\?name=slow/, async (route) => {
    await held
    await route.abort()
  })
  await box(ada).fill('text')
  await pick(ada, [text('slow.txt', 10), text('next.txt', 10)])
  await expect(ada.getByRole('progressbar')).toHaveCount(2)
  const failed = ada.waitForEvent('requestfailed')
  await upload(ada, 'slow.txt').getByRole('button', { name: /Remove .*slow.txt/ }).click()
  await failed
  letGo()
  await expect(box(ada)).toBeFocused()
  await expect(ada.getByRole('progressbar')).toHaveCount(0)
  await box(ada).press('Enter')
  await expect(ada.locator('.message:not(.message--pending) .file__name')).toHaveText(['next.txt'])
})

test('S6: what is too large or refused is said so in words, and the text stays', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-refused')
  await box(ada).fill('my words')
  await pick(ada, [text('large.txt', 3_000_001)])
  await expect(upload(ada, 'large.txt').getByRole('alert')).toHaveText('This file is larger than 3 MB.')
  await pick(ada, [{ name: 'broken.png', mimeType: 'image/png', buffer: png(64, 48).subarray(0, 40) }])
  await expect(upload(ada, 'broken.png').getByRole('alert')).not.toBeEmpty()
  await ada.route(/\/attachments\?name=later/, (route) => route.abort())
  await pick(ada, [text('later.txt', 10)])
  await expect(upload(ada, 'later.txt').getByRole('alert')).toContainText('The chat cannot be reached right now.')
  await scan(ada, 'files that were refused')
  await box(ada).press('Enter')
  await expect(box(ada)).toHaveValue('my words')
  await ada.unroute(/\/attachments\?name=later/)
  await upload(ada, 'later.txt').getByRole('button', { name: 'Retry' }).click()
  for (const name of ['large.txt', 'broken.png']) await upload(ada, name).getByRole('button', { name: /Remove/ }).click()
  await expect(sendButton(ada)).toBeEnabled()
  await box(ada).press('Enter')
  await expect(ada.locator('.message:not(.message--pending) .file__name')).toHaveText(['later.txt'])
})

test('S6: files are dropped and pasted, ten for a message', async ({ browser }) => {
  const ada = await person(browser, 0, 's6-drop')
  await expect(ada.getByRole('button', { name: 'Attach files' })).toBeVisible()
  await drag(ada, ['a.txt'], false)
  await expect(ada.getByText('Drop files to attach them')).toBeVisible()
  await scan(ada, 'files held above the page')
  await drag(ada, Array.from({ length: 10 }, (_, n) => `file ${n}.txt`), true)
  await expect(ada.getByText('Drop files to attach them')).toHaveCount(0)
  await expect(ada.locator('.upload')).toHaveCount(10)
  await ada.evaluate(() => {
    const clipboardData = new DataTransfer()
    clipboardData.items.add(new File(['pasted'], 'pasted.txt', { type: 'text/plain' }))
    document.querySelector('#message-box')!.dispatchEvent(new ClipboardEvent('paste', { clipboardData, bubbles: true, cancelable: true }))
  })
  await expect(upload(ada, 'pasted.txt').getByRole('alert')).toHaveText('A message takes 10 files.')
  await upload(ada, 'pasted.txt').getByRole('button').click()
  await expect(sendButton(ada)).toBeEnabled()
  await box(ada).press('Enter')
  await expect(ada.locator('.message:not(.message--pending) .file')).toHaveCount(10)
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
