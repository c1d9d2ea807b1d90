/** What asks for attention, and what must not: the title, notifications, notices, drafts, a new version. */
import { expect, test, type Browser, type Page } from '@playwright/test'
import { box, leave, nameOf, others, person as anyPerson, say, texts, troubles, turn, visit } from './people.ts'
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

test('M15: the title counts what others said while the page was out of sight', async ({ browser }) => {
  const ada = await person(browser, 0, 'm15')
  const bob = await person(browser, 1, 'm15')
  await say(bob, 'seen')
  await expect(texts(ada)).toHaveCount(1)
  await expect(ada).toHaveTitle('m15 · Parlor')
  await turn(ada, 'hidden')
  for (const text of ['one', 'two', 'three']) await say(bob, text)
  await expect(ada).toHaveTitle('(3) m15 · Parlor')
  await expect(bob).toHaveTitle('m15 · Parlor')
  await turn(ada, 'visible')
  await expect(ada).toHaveTitle('m15 · Parlor')
})

test('S1: five who join are one line, which tells all when it is asked, or nothing if I want none', async ({ browser }) => {
  const ada = await person(browser, 0, 's1')
  const bob = await person(browser, 1, 's1')
  await expect(ada.locator('.notice')).toHaveText(/^\S+ .+ joined$/)
  await say(bob, 'I am here')
  await expect(texts(ada)).toHaveCount(1)
  await others(ada, 's1', [{}, {}, {}, {}, {}])
  const notice = ada.locator('.notice').last()
  await expect(notice).toHaveText(/^.+, .+, and 3 others joined$/)
  await expect(ada.locator('.notice')).toHaveCount(2)
  const names = await ada.locator('.member__name').allInnerTexts()
  await notice.getByRole('button').click()
  const all = await notice.innerText()
  const known = [await nameOf(ada), await nameOf(bob)]
  for (const name of names.filter((each) => !known.includes(each))) expect(all).toContain(name)
  // Who loses the connection and is back within the grace was never away.
  await bob.context().setOffline(true)
  await expect(bob.locator('.banner--offline')).toBeVisible()
  await bob.context().setOffline(false)
  await expect(bob.locator('.banner--shown')).toHaveCount(0)
  await say(bob, 'back')
  await expect(texts(ada)).toHaveCount(2)
  await expect(ada.locator('.notice')).toHaveCount(2)
  await leave(ada, 1)
  await expect(ada.locator('.notice')).toHaveCount(3)
  await expect(ada.locator('.notice').last()).toHaveText(/ left$/)

  await ada.getByRole('button', { name: 'Settings' }).click()
  await ada.getByLabel('Show who joins and leaves').uncheck()
  await expect(ada.locator('.notice')).toHaveCount(0)
  await leave(ada)
})

/** Goes there by the keyboard. */
async function openRoom(page: Page, room: string) {
  await page.keyboard.press('Control+k')
  await page.getByRole('combobox').fill(room)
  await page.keyboard.press('Enter')
  await expect(page.getByRole('heading', { level: 1 })).toHaveText(room)
  await expect(page.locator('.tag--you')).toHaveCount(1)
}

/** Notes down notifications instead of showing them; the permission is given when it is asked for. */
const noteNotifications = (page: Page, permission: 'granted' | 'denied') =>
  page.addInitScript((answer) => {
    class Noted {
      static permission = localStorage.getItem('test.permission') ?? 'default'
      static asked = 0
      static requestPermission = async () => {
        Noted.asked++
        localStorage.setItem('test.permission', answer)
        return (Noted.permission = answer)
      }
      constructor(title: string, options: NotificationOptions) {
        const noted = JSON.parse(localStorage.getItem('test.noted') ?? '[]') as object[]
        localStorage.setItem('test.noted', JSON.stringify([...noted, { title, ...options }]))
      }
      close() {}
    }
    Object.assign(window, { Notification: Noted })
  }, permission)

/** A gateway that lets the message with this text mention everyone who hears it. */
const mentionIn = (page: Page, text: string) =>
  page.routeWebSocket(/\/ws$/, (browser) => {
    let me = ''
    browser.connectToServer().onMessage((data) => {
      const frame = JSON.parse(String(data)) as { welcome?: { member: { id: string } }; message?: { text: string; mentions?: string[] } }
      me = frame.welcome?.member.id ?? me
      if (frame.message?.text === text) frame.message.mentions = [me]
      browser.send(JSON.stringify(frame))
    })
  })

test('S7: a mention is told on the desktop once, however many tabs are hidden, after I asked for it', async ({ browser }) => {
  const page = await (await browser.newContext()).newPage()
  await noteNotifications(page, 'granted')
  await mentionIn(page, 'hey you')
  const ada = await visit(page, stack.urls[0]!, '/r/s7')
  const asked = () => ada.evaluate(() => (Notification as unknown as { asked: number }).asked)
  expect(await asked(), 'nobody is asked unasked').toBe(0)
  await ada.getByRole('button', { name: 'Settings' }).click()
  await ada.getByLabel('Tell me on the desktop').check()
  expect(await asked()).toBe(1)
  await ada.keyboard.press('Escape')
  const tab = await ada.context().newPage()
  await noteNotifications(tab, 'granted')
  await mentionIn(tab, 'hey you')
  await visit(tab, stack.urls[0]!, '/r/s7')
  const bob = await person(browser, 1, 's7')
  await say(bob, 'hey you')
  for (const each of [ada, tab]) await expect(texts(each)).toHaveCount(1)
  for (const each of [ada, tab]) await turn(each, 'hidden')
  await say(bob, 'not you')
  await say(bob, 'hey you')
  await say(bob, 'last')
  for (const each of [ada, tab]) await expect(texts(each)).toHaveCount(4)
  const noted = () => ada.evaluate(() => JSON.parse(localStorage.getItem('test.noted') ?? '[]') as { title: string; body: string; tag: string }[])
  // Both tabs have had their turn.
  for (const each of [ada, tab]) await each.evaluate(() => navigator.locks.request('parlor.told', () => {}))
  expect(await noted()).toHaveLength(1)
  const [told] = await noted()
  expect(told).toMatchObject({ title: `${await nameOf(bob)} mentioned you in s7`, body: 'hey you' })
  expect(told!.tag).not.toBe('')
  // In a room that is not open, too.
  await tab.close()
  await turn(ada, 'visible')
  await openRoom(ada, 's7-other')
  await turn(ada, 'hidden')
  await say(bob, 'hey you')
  await expect.poll(async () => (await noted()).length).toBe(2)
})

test('S7: who is not allowed to notify says so, and stays off', async ({ browser }) => {
  const page = await (await browser.newContext()).newPage()
  await noteNotifications(page, 'denied')
  const ada = await visit(page, stack.urls[0]!, '/r/s7-denied')
  await ada.getByRole('button', { name: 'Settings' }).click()
  await ada.getByLabel('Tell me on the desktop').click()
  await expect(ada.getByRole('alert')).toContainText('The browser does not allow it.')
  await expect(ada.getByLabel('Tell me on the desktop')).not.toBeChecked()
})

test('S8: what I have begun to write waits for me, in its own room, over a reload', async ({ browser }) => {
  const ada = await person(browser, 0, 's8')
  await box(ada).fill('a thought')
  await openRoom(ada, 's8-other')
  await expect(box(ada)).toHaveValue('')
  await box(ada).fill('another')
  await ada.goBack()
  await expect(ada.getByRole('heading', { level: 1 })).toHaveText('s8')
  await expect(box(ada)).toHaveValue('a thought')
  await ada.reload()
  await expect(box(ada)).toHaveValue('a thought')
  await box(ada).press('Enter')
  await expect(texts(ada)).toHaveText(['a thought'])
  await ada.reload()
  await expect(texts(ada)).toHaveText(['a thought'])
  await expect(box(ada)).toHaveValue('')
})

test('S14: a page that is out of date says so, and is not reloaded by force', async ({ browser }) => {
  const served = await (await fetch(`${stack.urls[0]}/build.txt`)).text()
  expect(served).toMatch(/^[0-9a-f]{12}$/)
  const page = await (await browser.newContext()).newPage()
  // A page of an earlier day, which knows itself by another name.
  await page.route('**/assets/*.js', async (route) => {
    const answer = await route.fetch()
    const headers = { ...answer.headers(), 'cache-control': 'no-store' }
    await route.fulfill({ status: 200, headers, body: (await answer.text()).replace(served, 'an-older-one') })
  })
  const ada = await visit(page, stack.urls[0]!, '/r/s14')
  const notice = ada.getByText('There is a new version of this page.')
  await box(ada).fill('half a thought')
  await expect(notice).toBeVisible()
  await expect(box(ada)).toHaveValue('half a thought')
  await page.unroute('**/assets/*.js')
  await Promise.all([ada.waitForEvent('load'), ada.getByRole('button', { name: 'Reload' }).click()])
  await expect(box(ada)).toHaveValue('half a thought')
  await expect(ada.locator('.tag--you')).toHaveCount(1)
  await expect(notice).toHaveCount(0)
})
