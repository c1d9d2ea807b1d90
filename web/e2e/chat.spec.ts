/** Stories in a real browser against the real stack: every message crosses both tiers. */
import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Browser, type Page } from '@playwright/test'
import { nameOf, person as anyPerson, say, texts, troubles, visit } from './people.ts'
import { Stack } from './stack.ts'

let stack: Stack

test.beforeAll(async () => {
  stack = await new Stack().start()
})
test.afterAll(async () => {
  await stack.stop()
})
test.beforeEach(() => {
  troubles.length = 0
})

const person = (browser: Browser, gateway: number, room: string, options = {}) => anyPerson(stack, browser, gateway, room, options)
const banner = (page: Page) => page.locator('.banner')
/** The member's id, which the page does not show: from the token that brings them back. */
const myId = (page: Page) =>
  page.evaluate(() => {
    const claims = localStorage.getItem('parlor.token')!.split('.')[1]!
    return (JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/'))) as { sub: string }).sub
  })

test('two people on two gateways see each other come, talk, reload and leave', async ({ browser }) => {
  const ada = await person(browser, 0, 'two')
  const bob = await person(browser, 1, 'two')
  await expect(ada.locator('li.member')).toHaveCount(2)
  const bobsName = await nameOf(bob)
  await expect(ada.locator('li.member', { hasText: bobsName })).toBeVisible()
  const picture = ada.locator('li.member img').first()
  expect(await picture.evaluate((img: HTMLImageElement) => img.decode().then(() => img.naturalWidth))).toBeGreaterThan(0)

  await say(ada, 'hello bob')
  await expect(texts(bob)).toHaveText(['hello bob'])
  await say(bob, 'hello ada')
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['hello bob', 'hello ada'])
  await expect(ada.getByLabel('Your message')).toHaveValue('')
  await expect(ada.getByLabel('Your message')).toBeFocused()

  const noise: string[] = []
  await ada.exposeFunction('changed', (count: string) => noise.push(count))
  await ada.evaluate(() => {
    const list = document.querySelector('.members__list')!
    const report = () => (window as unknown as { changed(count: string): void }).changed(`${list.children.length}`)
    new MutationObserver(report).observe(list, { childList: true })
  })
  await bob.reload()
  await expect(texts(bob)).toHaveText(['hello bob', 'hello ada'])
  expect(await nameOf(bob)).toBe(bobsName)
  expect(noise, 'a reload makes no noise').toEqual([])

  await bob.close()
  await expect(ada.locator('li.member')).toHaveCount(1)
  expect(troubles).toEqual([])
})

test('two tabs are one member', async ({ browser }) => {
  const ada = await person(browser, 0, 'tabs')
  const tab = await visit(await ada.context().newPage(), stack.urls[0]!, '/r/tabs')
  await expect(tab.locator('li.member')).toHaveCount(1)
  await expect(ada.locator('li.member')).toHaveCount(1)
})

test('Shift+Enter breaks the line, Enter sends, nothing sends nothing', async ({ browser }) => {
  const ada = await person(browser, 0, 'keys')
  const box = ada.getByLabel('Your message')
  await box.press('Enter')
  await box.pressSequentially('one')
  await box.press('Shift+Enter')
  await box.pressSequentially('two')
  await box.press('Enter')
  await expect(texts(ada)).toHaveText(['one\ntwo'])
})

test('the whole chat by keyboard', async ({ browser }) => {
  const ada = await person(browser, 0, 'keyboard')
  await ada.keyboard.press('Tab')
  await expect(ada.getByRole('link', { name: 'Skip to the message box' })).toBeFocused()
  await ada.keyboard.press('Enter')
  await expect(ada.getByLabel('Your message')).toBeFocused()
  await ada.keyboard.type('typed')
  await ada.keyboard.press('Enter')
  await expect(texts(ada)).toHaveText(['typed'])
  await ada.keyboard.press('Shift+Tab')
  await expect(ada.getByRole('button', { name: 'Attach files' })).toBeFocused()
  await ada.keyboard.press('Shift+Tab')
  await expect(ada.getByRole('region', { name: 'Messages' })).toBeFocused()
  await ada.keyboard.press('Shift+Tab')
  await expect(ada.getByRole('navigation', { name: 'Members' })).toBeFocused()
})

test('a screen reader hears new messages of others, and no history', async ({ browser }) => {
  const ada = await person(browser, 0, 'spoken')
  await say(ada, 'history')
  await expect(texts(ada)).toHaveText(['history'])
  const bob = await person(browser, 1, 'spoken')
  await expect(texts(bob)).toHaveText(['history'])
  await say(bob, 'mine')
  await say(ada, 'news')
  await expect(bob.getByRole('log')).toHaveText(/news$/)
  await expect(bob.getByRole('log').locator('p')).toHaveCount(1)
})

test('what is refused can be discarded, and axe finds nothing in it', async ({ browser }) => {
  const ada = await person(browser, 0, 'refused')
  // Not blank for the page, but for the service: a space without a width.
  await say(ada, '\u200b')
  await expect(ada.getByText('Not sent: text: it is blank.')).toBeVisible()
  await expect(ada.getByRole('button', { name: 'Retry' })).toBeHidden()
  expect((await new AxeBuilder({ page: ada }).analyze()).violations).toEqual([])
  await ada.getByRole('button', { name: 'Discard' }).click()
  await expect(texts(ada)).toHaveCount(0)
})

test('what someone types is never markup', async ({ browser }) => {
  const ada = await person(browser, 0, 'hostile')
  const bob = await person(browser, 1, 'hostile')
  const hostile = ['<img src=x onerror=alert(1)>', '<script>alert(1)</script>', '{{constructor.constructor("alert(1)")()}}']
  for (const text of hostile) await say(ada, text)
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(hostile)
  expect(troubles).toEqual([])
})

test('a gateway is killed and comes back, and nothing is lost or doubled', async ({ browser }) => {
  const ada = await person(browser, 0, 'killed')
  const bob = await person(browser, 1, 'killed')
  await say(bob, 'before')
  await expect(texts(ada)).toHaveText(['before'])
  await stack.gateways[0]!.kill()
  await expect(banner(ada)).toBeVisible()
  await say(bob, 'meanwhile')
  await say(ada, 'from ada')
  await stack.gateways[0]!.start()
  await expect(banner(ada)).toBeHidden({ timeout: 40_000 })
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['before', 'meanwhile', 'from ada'])
})

test('M11: a gateway that is asked to stop moves its browsers without a hole, a double or noise', async ({ browser }) => {
  const bob = await person(browser, 1, 'deploy')
  const ada = await visit(await (await browser.newContext()).newPage(), stack.balanced.url, '/r/deploy')
  await expect(bob.locator('li.member')).toHaveCount(2)
  const noise: string[] = []
  for (const page of [ada, bob]) {
    await page.exposeFunction('changed', (what: string) => noise.push(what))
    await page.evaluate(() => {
      const changed = (window as unknown as { changed(what: string): void }).changed
      const watch = (selector: string) =>
        new MutationObserver(() => changed(`${selector}: ${document.querySelector(selector)?.textContent}`)).observe(
          document.querySelector(selector)!, { subtree: true, childList: true, characterData: true, attributes: true },
        )
      watch('.members')
      watch('.banner')
    })
  }
  stack.balanced.order = [1, 0]
  const ended = stack.gateways[0]!.end()
  for (let n = 1; n <= 20; n++) await say(n % 2 ? ada : bob, `line ${n}`)
  expect(await ended).toBe(0)
  await say(ada, 'from elsewhere')
  for (const page of [ada, bob]) {
    await expect(texts(page).last()).toHaveText('from elsewhere')
    expect(new Set(await texts(page).allInnerTexts()).size).toBe(21)
    await expect(texts(page)).toHaveCount(21)
  }
  expect(noise).toEqual([])
  await stack.gateways[0]!.start()
  stack.balanced.order = [0, 1]
})

test('a room service is killed and comes back, and the browser stays connected', async ({ browser }) => {
  const ada = await person(browser, 0, 'service')
  await stack.roomServices[0]!.kill()
  await say(ada, 'patience')
  await expect(ada.getByText('Sending…')).toBeVisible()
  await stack.roomServices[0]!.start()
  await expect(ada.getByText('Sending…')).toBeHidden()
  await expect(texts(ada)).toHaveText(['patience'])
  await expect(banner(ada)).toBeHidden()
})

test('a page that is opened while Redis is away is in the room when it is back, and a room that was lost says so', async ({ browser }) => {
  const ada = await person(browser, 0, 'early')
  await say(ada, 'kept in memory alone')
  await expect(texts(ada)).toHaveText(['kept in memory alone'])
  await stack.redis!.kill()
  const bob = await (await browser.newContext()).newPage()
  await bob.goto(`${stack.urls[1]}/r/early`)
  await expect(banner(bob)).toBeVisible()
  await stack.redis!.start()
  await expect(banner(bob)).toBeHidden({ timeout: 40_000 })
  await say(bob, 'here I am')
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['here I am'])
  await expect(ada.getByText('The server lost what was said before.')).toBeVisible()
  await expect(bob.getByText('The server lost what was said before.')).toBeHidden()
})

test('an operator deletes a message, and it vanishes from every screen', async ({ browser }) => {
  const ada = await person(browser, 0, 'deleted')
  const bob = await person(browser, 1, 'deleted')
  await say(ada, 'kind')
  await say(ada, 'unkind')
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['kind', 'unkind'])
  await stack.operate('DELETE', 'rooms/deleted/messages/2')
  await say(ada, 'and on')
  const carol = await person(browser, 1, 'deleted')
  for (const page of [ada, bob, carol]) {
    await expect(texts(page)).toHaveText(['kind', 'Message deleted', 'and on'])
    await expect(page.getByText('unkind')).toHaveCount(0)
  }
  expect(troubles).toEqual([])
})

test('who is banned sees why and nothing else, and comes back when the ban is lifted', async ({ browser }) => {
  const ada = await person(browser, 0, 'banned')
  const bob = await person(browser, 1, 'banned')
  await say(ada, 'before')
  await expect(texts(bob)).toHaveText(['before'])
  const member = await myId(ada)
  await stack.operate('PUT', `rooms/banned/bans/${member}`, { reason: 'be kind' })
  const why = ada.getByText('An operator banned you from this room: be kind')
  await expect(why).toBeVisible()
  await expect(texts(ada)).toHaveCount(0)
  await expect(ada.getByLabel('Your message')).toBeHidden()
  await expect(bob.locator('li.member')).toHaveCount(1)
  await ada.reload()
  await expect(why).toBeVisible()
  await stack.operate('DELETE', `rooms/banned/bans/${member}`)
  await ada.getByRole('button', { name: 'Join again' }).click()
  await expect(texts(ada)).toHaveText(['before'])
  await say(ada, 'back')
  await expect(texts(bob)).toHaveText(['before', 'back'])

  await stack.operate('POST', `members/${member}/disconnect`, { seconds: 3600 })
  await expect(banner(ada)).toContainText('An operator removed you from this chat.')
  await ada.reload()
  await expect(banner(ada)).toContainText('An operator removed you from this chat.')
  await stack.operate('DELETE', `members/${member}/disconnect`)
  await expect(async () => {
    await banner(ada).getByRole('button', { name: 'Rejoin' }).click({ timeout: 1000 })
    await expect(banner(ada)).toBeHidden({ timeout: 1000 })
  }).toPass()
  await expect(texts(ada)).toHaveText(['before', 'back'])
  expect(troubles).toEqual([])
})

test('the page works on a phone', async ({ browser }) => {
  const ada = await person(browser, 0, 'phone', { viewport: { width: 1100, height: 700 } })
  await ada.setViewportSize({ width: 390, height: 780 })
  expect(await ada.evaluate(() => document.documentElement.scrollWidth <= innerWidth)).toBe(true)
  const button = ada.getByRole('button', { name: '1 member' })
  await expect(button).toHaveAttribute('aria-expanded', 'false')
  await expect(ada.locator('li.member')).toBeHidden()
  await button.click()
  await expect(button).toHaveAttribute('aria-expanded', 'true')
  await expect(ada.locator('li.member')).toBeVisible()
})

for (const colorScheme of ['light', 'dark'] as const) {
  test(`axe finds nothing (${colorScheme}, with a banner, on a phone)`, async ({ browser }) => {
    const ada = await person(browser, 0, `axe-${colorScheme}`, { colorScheme })
    await say(ada, 'something to look at')
    await expect(texts(ada)).toHaveCount(1)
    const scan = async () => (await new AxeBuilder({ page: ada }).analyze()).violations.map(({ id, nodes }) => [id, nodes[0]?.html])
    expect(await scan()).toEqual([])
    await ada.setViewportSize({ width: 390, height: 780 })
    expect(await scan()).toEqual([])
    await ada.context().setOffline(true)
    await expect(banner(ada)).toBeVisible()
    expect(await scan()).toEqual([])
  })
}

test('a network that lets no WebSocket through is no obstacle, and when it does again a WebSocket is used', async ({ browser }) => {
  stack.balanced.webSockets = false
  const ada = await person(browser, 0, 'narrow')
  const page = await (await browser.newContext()).newPage()
  await page.clock.install()
  const sockets: string[] = []
  page.on('websocket', (socket) => sockets.push(socket.url()))
  const bob = await visit(page, stack.balanced.url, '/r/narrow')
  await expect(ada.locator('li.member')).toHaveCount(2)
  await say(bob, 'through a straw')
  await expect(texts(ada)).toHaveText(['through a straw'])
  await say(ada, 'still water')
  for (const each of [ada, bob]) await expect(texts(each)).toHaveText(['through a straw', 'still water'])
  await expect(banner(bob)).toBeHidden()

  stack.balanced.webSockets = true
  const before = sockets.length
  const opened = page.waitForEvent('websocket', { predicate: () => sockets.length > before })
  await page.clock.fastForward('05:01')
  await opened
  await say(ada, 'wide again')
  await expect(texts(bob)).toHaveText(['through a straw', 'still water', 'wide again'])
  await say(bob, 'so it is')
  await expect(texts(ada)).toHaveText(['through a straw', 'still water', 'wide again', 'so it is'])
  await expect(ada.locator('li.member')).toHaveCount(2)
  expect(troubles).toEqual([])
})
