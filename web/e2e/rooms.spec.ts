/** Stories of many rooms: the address, the list, what is unread in it, on all of my devices. */
import { expect, test, type Browser, type Page } from '@playwright/test'
import { person as anyPerson, say, texts, troubles, turn, visit } from './people.ts'
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

const listed = (page: Page, room: string) => page.locator('.rooms a.room', { hasText: new RegExp(`^${room}`) })
const unread = (page: Page, room: string) => listed(page, room).locator('.room__unread > span').first()

async function find(page: Page, typed: string) {
  await page.keyboard.press('Control+k')
  await page.getByRole('combobox').fill(typed)
  await page.keyboard.press('Enter')
}

test('M24: every room has an address, and the way back leads to the one before', async ({ browser }) => {
  const ada = await person(browser, 0, 'first')
  await say(ada, 'in the first')
  await find(ada, 'second')
  await expect(ada).toHaveURL(/\/r\/second$/)
  await expect(texts(ada)).toHaveCount(0)
  await say(ada, 'in the second')
  await expect(texts(ada)).toHaveText(['in the second'])
  await ada.goBack()
  await expect(texts(ada)).toHaveText(['in the first'])
  await ada.goForward()
  await expect(texts(ada)).toHaveText(['in the second'])
  await ada.reload()
  await expect(texts(ada)).toHaveText(['in the second'])
  await expect(listed(ada, 'second')).toHaveAttribute('aria-current', 'page')
  const status = async (path: string) => (await fetch(stack.urls[0] + path)).status
  expect([await status('/r/first/m/1-x'), await status('/assets/none.js')]).toEqual([200, 404])
})

test('S9: the rooms I was in are listed with what is unread, and found by a part of their name', async ({ browser }) => {
  const ada = await person(browser, 0, 's9-garden')
  const bob = await person(browser, 1, 's9-garden')
  await find(ada, 's9-library')
  await expect(ada.locator('.tag--you')).toHaveCount(1)
  await say(ada, 'quiet here')
  for (let n = 1; n <= 3; n++) await say(bob, `flower ${n}`)
  await expect(unread(ada, 's9-garden')).toHaveText('3')
  // As the server counts it, too.
  await ada.reload()
  await expect(unread(ada, 's9-garden')).toHaveText('3')
  await say(bob, 'flower 4')
  await expect(unread(ada, 's9-garden')).toHaveText('4')
  await ada.keyboard.press('Control+k')
  await ada.getByRole('combobox').fill('s9-')
  await ada.keyboard.press('ArrowDown')
  await ada.keyboard.press('ArrowUp')
  await ada.keyboard.press('Enter')
  await expect(ada).toHaveURL(/\/r\/s9-garden$/)
  await expect(texts(ada).last()).toHaveText('flower 4')
  await expect(ada.locator('.line')).toBeAttached()
  await expect(unread(ada, 's9-garden')).toHaveCount(0)
})

test('what I read on one device is read on the others', async ({ browser }) => {
  const ada = await person(browser, 0, 'devices')
  const bob = await person(browser, 1, 'devices')
  const tablet = await visit(await ada.context().newPage(), stack.urls[0]!, '/r/devices')
  await turn(ada, 'hidden')
  await find(tablet, 'elsewhere')
  await expect(tablet.locator('.tag--you')).toHaveCount(1)
  await say(bob, 'news')
  await expect(unread(tablet, 'devices')).toHaveText('1')
  await turn(ada, 'visible')
  await expect(texts(ada)).toHaveText(['news'])
  await expect(unread(tablet, 'devices')).toHaveCount(0)
})

test('a change of something said long ago reaches who reads it, and is no news', async ({ browser }) => {
  const ada = await person(browser, 0, 'changes')
  const bob = await person(browser, 1, 'changes')
  await say(ada, 'teh cat')
  await expect(texts(bob)).toHaveText(['teh cat'])
  await find(bob, 'changes-elsewhere')
  await expect(bob.locator('.tag--you')).toHaveCount(1)
  const edited = await ada.evaluate(async () => {
    const headers = { authorization: `Bearer ${localStorage.getItem('parlor.token')}`, 'content-type': 'application/json' }
    const { messages } = await (await fetch('/v1/rooms/changes/messages', { headers })).json()
    const url = `/v1/rooms/changes/messages/1?id=${messages[0].id}`
    return (await fetch(url, { method: 'PATCH', headers, body: JSON.stringify({ text: 'the cat', client_id: 'edit' }) })).status
  })
  expect(edited).toBe(200)
  await expect(texts(ada)).toHaveText(['the cat'])
  await expect(unread(bob, 'changes')).toHaveCount(0)
  await bob.goBack()
  await expect(texts(bob)).toHaveText(['the cat'])
})
