/** How the page looks and reads: who is there, what is said, by day and by night, on a desk and in a hand. */
import { expect, test, type Browser, type Page } from '@playwright/test'
import { box, fits, leave, nameOf, others, person as anyPerson, say, texts, theySay, troubles, visit } from './people.ts'
import { Stack } from './stack.ts'

const PHONE = { width: 390, height: 780 }

let stack: Stack
const person = (browser: Browser, gateway: number, room: string, options = {}) => anyPerson(stack, browser, gateway, room, options)
const ground = (page: Page) => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor)
const LIGHT = 'rgb(244, 239, 230)'
const DARK = 'rgb(19, 18, 16)'

test.beforeAll(async () => {
  stack = await new Stack().start()
})
test.afterAll(() => stack.stop())
test.beforeEach(() => {
  troubles.length = 0
})
test.afterEach(() => expect(troubles).toEqual([]))

test('M1: who opens the page has a name and a picture, and nothing is asked of anyone else', async ({ browser }) => {
  const ada = await visit(await browser.newPage(), stack.urls[0]!, '/')
  const me = ada.locator('nav[aria-labelledby="members-title"] li', { has: ada.locator('.tag', { hasText: 'you' }) })
  await expect(me).toHaveCount(1)
  await expect(me.locator('.member__name')).toHaveText(/\S/)
  await expect.poll(() => me.locator('img').evaluate((img: HTMLImageElement) => img.naturalWidth)).toBeGreaterThan(0)
  await expect(ada.getByRole('heading', { level: 1 })).toHaveText('lobby')
})

test('M2: the list of members follows who comes and goes, and two tabs are one of them', async ({ browser }) => {
  const ada = await person(browser, 0, 'm2')
  const members = ada.locator('li.member')
  const count = ada.locator('.panel-title__count')
  const bob = await person(browser, 1, 'm2')
  await expect(members).toHaveCount(2)
  await expect(count).toHaveText('2')
  const tab = await visit(await bob.context().newPage(), stack.urls[1]!, '/r/m2')
  await expect(tab.locator('li.member')).toHaveCount(2)
  await bob.close()
  await expect(members).toHaveCount(2)
  await tab.close()
  await expect(members).toHaveCount(1)
  await expect(count).toHaveText('1')
})

test('M3: a reload keeps the person, and nobody hears of it', async ({ browser }) => {
  const ada = await person(browser, 0, 'm3')
  const bob = await person(browser, 1, 'm3')
  await expect(ada.locator('.notice')).toHaveText(/ joined$/)
  const name = await nameOf(bob)
  await bob.reload()
  await expect(bob.locator('.tag--you')).toHaveCount(1)
  expect(await nameOf(bob)).toBe(name)
  await say(bob, 'still me')
  await expect(texts(ada)).toHaveText(['still me'])
  await expect(ada.locator('.notice')).toHaveCount(1)
})

test('M13: what one says within five minutes is a group, days are told apart, and each message has its time', async ({ browser }) => {
  const ada = await person(browser, 0, 'm13')
  for (const text of ['one', 'two', 'three']) await say(ada, text)
  await expect(ada.locator('.message:not(.message--pending)')).toHaveCount(3)
  await expect(ada.locator('.message__avatar')).toHaveCount(1)
  await expect(ada.locator('.message__head')).toHaveCount(1)
  const times = ada.locator('.message time')
  await expect(times).toHaveCount(3)
  for (const time of await times.all()) {
    expect(new Date((await time.getAttribute('datetime'))!).getTime()).toBeGreaterThan(0)
    expect(await time.getAttribute('title')).toMatch(/\d{4}/)
  }
  const at = new Date((await times.first().getAttribute('datetime'))!)
  for (const [daysLater, words] of [[0, 'Today'], [1, 'Yesterday'], [2, /day/], [400, /\d{4}/]] as const) {
    const bob = await (await browser.newContext()).newPage()
    await bob.clock.setFixedTime(new Date(at.getFullYear(), at.getMonth(), at.getDate() + daysLater, at.getHours(), at.getMinutes()))
    await visit(bob, stack.urls[1]!, '/r/m13')
    await expect(bob.locator('.day')).toHaveText(words)
    await bob.close()
  }
})

test('M19: markup is drawn, and what could do harm is text', async ({ browser }) => {
  const ada = await person(browser, 0, 'm19')
  const answer = await ada.goto(`${stack.urls[0]}/r/m19`)
  expect(answer!.headers()['content-security-policy']).toContain("require-trusted-types-for 'script'; trusted-types vue")
  await say(ada, '**b** _i_ ~~s~~ `c`\n\n- one\n- two\n\n1. first\n\n> quoted\n\n[there](https://example.org/)\n\n```\nplain\n```')
  const said = texts(ada).first()
  for (const [tag, words] of [['strong', 'b'], ['em', 'i'], ['del', 's'], ['p > code', 'c'], ['ul > li:last-child', 'two'], ['ol > li', 'first'], ['blockquote', 'quoted'], ['pre', 'plain']] as const)
    await expect(said.locator(tag)).toHaveText(words)
  const link = said.getByRole('link', { name: 'there' })
  await expect(link).toHaveAttribute('href', 'https://example.org/')
  await expect(link).toHaveAttribute('rel', /noopener/)
  const harmful = ['<img src=x onerror=alert(1)>', '[a](javascript:alert(1))', '[b](data:text/html,<script>alert(1)</script>)']
  for (const text of harmful) await say(ada, text)
  for (const [n, text] of harmful.entries()) await expect(texts(ada).nth(n + 1)).toHaveText(text)
  await expect(ada.locator('.message a')).toHaveCount(1)
  await say(ada, '>'.repeat(4000))
  await expect(ada.locator('.message:not(.message--pending)')).toHaveCount(5)
  await say(ada, 'alive')
  await expect(texts(ada).last()).toHaveText('alive')
})

test('S13: code has its colours once they are loaded, and is plain if nobody knows its language', async ({ browser }) => {
  const ada = await person(browser, 0, 's13')
  await say(ada, '```rust\nfn main() { let x = "y"; }\n```')
  await say(ada, '```klingon\nfn main() {}\n```')
  await expect(ada.locator('.hljs-keyword').first()).toHaveText('fn')
  const plain = ada.locator('.code__text').nth(1)
  await expect(plain).toHaveText('fn main() {}')
  await expect(plain.locator('span')).toHaveCount(0)
  await ada.context().grantPermissions(['clipboard-read', 'clipboard-write'])
  await ada.getByRole('button', { name: 'Copy' }).first().click()
  await expect(ada.getByRole('button', { name: 'Copied' })).toBeVisible()
  expect(await ada.evaluate(() => navigator.clipboard.readText())).toBe('fn main() { let x = "y"; }')
})

test('M20: the page follows the system’s theme, or the reader’s choice, and never flashes the other', async ({ browser }) => {
  const ada = await person(browser, 0, 'm20', { colorScheme: 'light' })
  expect(await ground(ada)).toBe(LIGHT)
  await ada.emulateMedia({ colorScheme: 'dark' })
  expect(await ground(ada)).toBe(DARK)
  await ada.getByRole('button', { name: 'Settings' }).click()
  await ada.getByLabel('Light').check()
  expect(await ground(ada)).toBe(LIGHT)
  // Before the first script of the page runs, the choice holds.
  await ada.route('**/assets/*.js', (route) => route.abort())
  await ada.goto(`${stack.urls[0]}/r/m20`)
  await expect(ada.locator('.page')).toHaveCount(0)
  expect(await ground(ada)).toBe(LIGHT)
  await ada.unroute('**/assets/*.js')
  await ada.reload()
  await ada.getByRole('button', { name: 'Settings' }).click()
  await expect(ada.getByLabel('Light')).toBeChecked()
  await ada.getByLabel('System').check()
  expect(await ground(ada)).toBe(DARK)
})

test('M21: on a phone the lists are drawers, and nothing is too small to touch', async ({ browser }) => {
  const ada = await person(browser, 0, 'm21', { viewport: PHONE })
  await say(ada, `a_long_word_${'x'.repeat(300)} and a https://example.org/${'y'.repeat(300)}`)
  await say(ada, `\`\`\`\n${'long '.repeat(100)}\n\`\`\``)
  await expect(ada.locator('.message:not(.message--pending)')).toHaveCount(2)
  expect(await fits(ada)).toBe(true)
  await expect(box(ada)).toBeInViewport()
  for (const [button, list] of [['1 member', 'Members'], ['Rooms', 'Rooms']] as const) {
    const opener = ada.locator('.bar').getByRole('button', { name: button })
    await expect(opener).toHaveAttribute('aria-expanded', 'false')
    await expect(ada.getByRole('navigation', { name: list })).toBeHidden()
    await opener.click()
    await expect(opener).toHaveAttribute('aria-expanded', 'true')
    await expect(ada.getByRole('navigation', { name: list })).toBeInViewport()
    await ada.keyboard.press('Escape')
    await expect(ada.getByRole('navigation', { name: list })).toBeHidden()
  }
  expect(await fits(ada)).toBe(true)
})

test('M23: a room without messages, a room that cannot be, a page that is not connected yet', async ({ browser }) => {
  const ada = await person(browser, 0, 'm23')
  await expect(ada.getByText('No messages yet')).toBeVisible()
  await say(ada, 'no more')
  await expect(ada.getByText('No messages yet')).toBeHidden()

  await ada.goto(`${stack.urls[0]}/r/No%20Room`)
  await expect(ada.getByRole('heading', { name: 'No such room' })).toHaveCount(1)
  await ada.getByRole('link', { name: 'Go to the lobby' }).click()
  await expect(ada.getByRole('heading', { level: 1 })).toHaveText('lobby')

  const page = await browser.newPage()
  await page.routeWebSocket(/\/ws$/, () => {})
  await page.goto(`${stack.urls[0]}/r/m23`)
  await expect(page.getByText('Connecting…')).toBeVisible()
  await expect(page.locator('.skeleton')).toBeVisible()

  const bare = await (await browser.newContext({ javaScriptEnabled: false })).newPage()
  await bare.goto(`${stack.urls[0]}/r/m23`)
  await expect(bare.locator('p.noscript')).toBeVisible()
})

test('M25: nothing moves for who wants no motion, and large type and narrow windows are no obstacle', async ({ browser }) => {
  const ada = await person(browser, 0, 'm25', { reducedMotion: 'reduce' })
  await say(ada, 'hello')
  for (const key of ['?', 'Control+k']) {
    await ada.locator('.timeline__scroll').focus()
    await ada.keyboard.press(key)
    await expect(ada.locator('dialog')).toBeVisible()
    expect(await ada.evaluate(() => document.getAnimations().length)).toBe(0)
    await ada.keyboard.press('Escape')
  }
  // 200 % of a small window is half as many pixels.
  for (const size of [{ width: 320, height: 568 }, { width: 550, height: 360 }]) {
    await ada.setViewportSize(size)
    expect(await fits(ada)).toBe(true)
    await expect(box(ada)).toBeInViewport()
    await say(ada, `at ${size.width}`)
    await expect(texts(ada).last()).toBeInViewport()
    await ada.locator('.bar').getByRole('button', { name: 'Settings' }).click()
    await expect(ada.getByRole('button', { name: 'Close' })).toBeInViewport()
    await ada.keyboard.press('Escape')
  }
})

test('M26: what is too long is counted, kept in the box, and not sent', async ({ browser }) => {
  const ada = await person(browser, 0, 'm26')
  const limit = ada.locator('#message-limit')
  await box(ada).fill('x'.repeat(7300))
  await expect(limit).toBeEmpty()
  await box(ada).fill('x'.repeat(7400))
  await expect(limit).toHaveText('7,400 of 8,192 bytes')
  await box(ada).fill('ü'.repeat(4097))
  await expect(limit).toHaveText('8,194 of 8,192 bytes')
  await expect(box(ada)).toHaveAttribute('aria-invalid', 'true')
  await expect(ada.getByRole('button', { name: 'Send' })).toBeDisabled()
  await box(ada).press('Enter')
  await expect(box(ada)).toHaveValue('ü'.repeat(4097))
  await expect(texts(ada)).toHaveCount(0)
  await box(ada).press('Backspace')
  await box(ada).press('Enter')
  await expect(texts(ada)).toHaveText(['ü'.repeat(4096)])
})

test('M27: a bot is seen to be one, in the list and by what it says', async ({ browser }) => {
  const ada = await person(browser, 0, 'm27')
  await others(ada, 'm27', [{ bot: true }])
  const bot = ada.locator('li.member', { has: ada.locator('.tag', { hasText: /^bot$/ }) })
  await expect(bot).toHaveCount(1)
  await theySay(ada, 'm27', 'beep')
  await expect(ada.locator('.message__head', { hasText: await bot.locator('.member__name').innerText() }).locator('.tag')).toHaveText('bot')
  await leave(ada)
})
