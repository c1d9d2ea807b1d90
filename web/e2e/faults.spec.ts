/** Stories of a connection that fails, and of what is said meanwhile. */
import { expect, test, type Browser, type Page } from '@playwright/test'
import { FaultyWay } from './faults.ts'
import { person as anyPerson, say, texts, troubles, visit } from './people.ts'
import { Stack } from './stack.ts'

let stack: Stack
let way: FaultyWay
const person = (browser: Browser, gateway: number, room: string, options = {}) => anyPerson(stack, browser, gateway, room, options)

test.beforeAll(async () => {
  stack = await new Stack().start()
})
test.afterAll(() => stack.stop())
test.beforeEach(async () => {
  troubles.length = 0
  way = await new FaultyWay(stack.urls[0]!).open()
})
test.afterEach(() => way.close())

/** A person whose way to the gateway can be broken. The page's clock is the test's, if it is to be. */
async function onTheWay(browser: Browser, room: string, ownClock = false): Promise<Page> {
  const page = await (await browser.newContext()).newPage()
  if (ownClock) await page.clock.install()
  return visit(page, way.url, `/r/${room}`)
}

const banner = (page: Page) => page.locator('.banner').first()

test('M6: what I say is there at once, and is the same row when it is kept', async ({ browser }) => {
  const ada = await onTheWay(browser, 'm6')
  const bob = await person(browser, 1, 'm6')
  way.stall()
  await say(ada, 'patience')
  await expect(ada.getByText('Sending…')).toBeVisible()
  await expect(texts(bob)).toHaveText(['patience'])
  const row = ada.locator('.message', { hasText: 'patience' })
  await expect(row).toHaveCount(1)
  way.mend()
  await expect(ada.getByText('Sending…')).toBeHidden()
  await expect(row).toHaveCount(1)
})

test('M7: what gets no answer for ten seconds has failed, and is one message after a retry', async ({ browser }) => {
  const ada = await onTheWay(browser, 'm7', true)
  const bob = await person(browser, 1, 'm7')
  way.stall()
  await say(ada, 'once')
  await expect(texts(bob)).toHaveText(['once'])
  await ada.clock.runFor(10_500)
  await expect(ada.getByText('Not sent:')).toBeVisible()
  way.mend()
  // It was kept after all, and comes by itself.
  await expect(ada.getByText('Not sent:')).toBeHidden()
  way.stall()
  await say(ada, 'twice')
  await ada.clock.runFor(10_500)
  const retry = ada.getByRole('button', { name: 'Retry' })
  await expect(retry).toBeVisible()
  await retry.click()
  await expect(ada.getByText('Sending…')).toBeVisible()
  way.mend()
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['once', 'twice'])
  await say(ada, '\u200b')
  await expect(ada.getByText('Not sent: text: it is blank.')).toBeVisible()
  await expect(retry).toBeHidden()
  await ada.getByRole('button', { name: 'Discard' }).click()
  await expect(texts(ada)).toHaveText(['once', 'twice'])
})

test('M8: a connection that is lost is told without numbers, and can be tried again at once', async ({ browser }) => {
  const ada = await onTheWay(browser, 'm8', true)
  await ada.evaluate(() => (Math.random = () => 1))
  way.cut()
  await expect(banner(ada)).toBeVisible()
  const told = banner(ada).getByRole('status')
  await expect(told).toHaveText(/^\D+$/)
  await expect(banner(ada).locator('.banner__countdown')).toHaveCount(0)
  // Each try fails, and the pause doubles.
  await expect(async () => {
    await ada.clock.runFor(1000)
    await expect(banner(ada).locator('.banner__countdown')).toBeVisible({ timeout: 200 })
  }).toPass()
  await expect(banner(ada).locator('.banner__countdown')).toHaveAttribute('aria-hidden', 'true')
  await expect(told).toHaveText(/^\D+$/)
  way.mend()
  await banner(ada).getByRole('button', { name: 'Retry now' }).click()
  await expect(banner(ada)).toBeHidden()
})

test('M9: what was said while I was away comes once, in order, and so does what I said', async ({ browser }) => {
  const ada = await onTheWay(browser, 'm9')
  const bob = await person(browser, 1, 'm9')
  await say(bob, 'before')
  await expect(texts(ada)).toHaveText(['before'])
  way.cut()
  await expect(banner(ada)).toBeVisible()
  for (const text of ['one', 'two', 'three']) await say(bob, text)
  await expect(texts(bob)).toHaveText(['before', 'one', 'two', 'three'])
  await say(ada, 'from ada')
  await expect(ada.getByText('Sending…')).toBeVisible()
  way.mend()
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['before', 'one', 'two', 'three', 'from ada'])
  await expect(ada.getByText('Sending…')).toBeHidden()
})

test('M9: what was sent and not acknowledged when the connection broke is one message', async ({ browser }) => {
  const ada = await onTheWay(browser, 'unacked')
  const bob = await person(browser, 1, 'unacked')
  way.stall()
  await say(ada, 'was it heard?')
  await expect(texts(bob)).toHaveText(['was it heard?'])
  way.cut()
  await expect(banner(ada)).toBeVisible()
  way.mend()
  await expect(ada.getByText('Sending…')).toBeHidden()
  await say(bob, 'it was')
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['was it heard?', 'it was'])
})

test('M10: a browser that is offline tries nothing, and is back at once when it is not', async ({ browser }) => {
  const ada = await onTheWay(browser, 'm10', true)
  await ada.context().setOffline(true)
  await expect(banner(ada)).toContainText('You are offline.')
  const sockets: string[] = []
  ada.on('websocket', (socket) => sockets.push(socket.url()))
  await ada.clock.runFor(60_000)
  expect(sockets).toEqual([])
  await ada.context().setOffline(false)
  await expect(banner(ada)).toBeHidden()
  expect(sockets.length).toBe(1)
})

test('M12: who is told not to come back does not, until they ask', async ({ browser }) => {
  const ada = await onTheWay(browser, 'm12', true)
  const member = await ada.evaluate(() => {
    const claims = localStorage.getItem('parlor.token')!.split('.')[1]!
    return (JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/'))) as { sub: string }).sub
  })
  await stack.operate('POST', `members/${member}/disconnect`, { seconds: 0 })
  await expect(banner(ada)).toContainText('Disconnected:')
  const tried = way.tried
  await ada.clock.runFor(60_000)
  expect(way.tried).toBe(tried)
  await banner(ada).getByRole('button', { name: 'Rejoin' }).click()
  await expect(banner(ada)).toBeHidden()
})

test('M16: others see that I write, for as long as I do', async ({ browser }) => {
  const ada = await person(browser, 0, 'm16')
  const page = await (await browser.newContext()).newPage()
  await page.clock.install()
  const bob = await visit(page, stack.urls[1]!, '/r/m16')
  const asked: string[] = []
  const typing = bob.locator('.typing')
  await ada.locator('#message-box').pressSequentially('hm')
  await expect(typing).toHaveText(/is typing…$/)
  await bob.clock.runFor(5000)
  await expect(typing).toHaveText('')
  // At send.
  const eve = await (await browser.newContext()).newPage()
  eve.on('websocket', (socket) => socket.on('framesent', ({ payload }) => String(payload).includes('"typing"') && asked.push(String(payload))))
  await eve.clock.install()
  await visit(eve, stack.urls[0]!, '/r/m16')
  await eve.locator('#message-box').pressSequentially('several keys in a moment')
  await expect(typing).toHaveText(/is typing…$/)
  expect(asked.length).toBe(1)
  await eve.locator('#message-box').press('Enter')
  await expect(texts(bob)).toHaveCount(1)
  await expect(typing).toHaveText('')
  // When they go.
  await eve.clock.runFor(3000)
  await eve.locator('#message-box').pressSequentially('and')
  await expect(typing).toHaveText(/is typing…$/)
  await eve.close()
  await expect(typing).toHaveText('')
})

test('M16: many who write are several', async ({ browser }) => {
  const ada = await person(browser, 0, 'several')
  const others = await Promise.all([0, 1, 0, 1].map((gateway) => person(browser, gateway, 'several')))
  await expect(async () => {
    await Promise.all(others.map((page) => page.locator('#message-box').pressSequentially('a')))
    await expect(ada.locator('.typing')).toHaveText('Several people are typing…', { timeout: 1000 })
  }).toPass()
})

