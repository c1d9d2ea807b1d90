/** Stories of what is done to messages: changed, deleted, answered, reacted to, linked, and who is spoken to in them. */
import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Browser, type Page } from '@playwright/test'
import { fill } from './history.ts'
import { box, fits, nameOf, others, person as anyPerson, say, texts, theySay, troubles, turn } from './people.ts'
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

/** The row of a message that is kept. */
const row = (page: Page, text: string) => page.locator('.message:not(.message--pending)', { has: page.locator('.message__text', { hasText: text }) })
const dialog = (page: Page, name: string) => page.getByRole('dialog', { name })

/** Presses a button of a message's toolbar. */
async function act(page: Page, text: string, name: string) {
  await row(page, text).hover()
  await row(page, text).getByRole('toolbar').getByRole('button', { name, exact: true }).click()
}

async function scan(page: Page, state: string) {
  const { violations } = await new AxeBuilder({ page }).options({ rules: { 'target-size': { enabled: true } } }).analyze()
  expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html]), state).toEqual([])
}

test('S2: ↑ in an empty box changes what I said last, Esc leaves it, others see that it was edited', async ({ browser }) => {
  const ada = await person(browser, 0, 's2')
  const bob = await person(browser, 1, 's2')
  await say(ada, 'first')
  await say(ada, 'secnod')
  await say(bob, 'not hers')
  await expect(row(ada, 'not hers')).toBeVisible()
  await box(ada).press('ArrowUp')
  await expect(box(ada)).toHaveValue('secnod')
  await box(ada).press('Escape')
  await expect(box(ada)).toHaveValue('')
  await box(ada).fill('a draft')
  await act(ada, 'secnod', 'Edit')
  await expect(box(ada)).toBeFocused()
  await box(ada).fill('second')
  await box(ada).press('Enter')
  for (const page of [ada, bob]) {
    await expect(texts(page)).toHaveText(['first', 'second', 'not hers'])
    await expect(row(page, 'second')).toContainText('(edited)')
    await expect(row(page, 'first')).not.toContainText('(edited)')
  }
  await expect(box(ada)).toHaveValue('a draft')
  await row(bob, 'first').hover()
  await expect(row(bob, 'first').getByRole('toolbar')).toBeVisible()
  await expect(bob.getByRole('button', { name: 'Edit', exact: true })).toHaveCount(0)
})

test('S2: deleting asks first, and leaves a place where the message was', async ({ browser }) => {
  const ada = await person(browser, 0, 's2-delete')
  const bob = await person(browser, 1, 's2-delete')
  await say(ada, 'stays')
  await say(ada, 'regretted')
  await act(ada, 'regretted', 'Delete')
  await dialog(ada, 'Delete this message?').getByRole('button', { name: 'Cancel' }).click()
  await expect(ada.getByRole('dialog')).toHaveCount(0)
  await act(ada, 'regretted', 'Delete')
  await dialog(ada, 'Delete this message?').getByRole('button', { name: 'Delete', exact: true }).click()
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['stays', 'Message deleted'])
  await expect(ada.getByRole('dialog')).toHaveCount(0)
  await expect(row(ada, 'Message deleted')).toBeFocused()
})

test('S3: an answer bears a quote, which leads to what it answers', async ({ browser }) => {
  const ada = await person(browser, 0, 's3')
  await say(ada, 'the question')
  await expect(row(ada, 'the question')).toBeVisible()
  await fill(browser, stack.urls[0]!, 's3', 150)
  const bob = await person(browser, 1, 's3')
  await expect(texts(bob).last()).toHaveText('line 150')
  await ada.locator('.timeline__scroll').evaluate((region) => (region.scrollTop = 0))
  await act(ada, 'the question', 'Reply')
  await expect(ada.getByRole('group', { name: /^Reply to/ })).toContainText('the question')
  await box(ada).press('Escape')
  await expect(ada.getByRole('group', { name: /^Reply to/ })).toHaveCount(0)
  await act(ada, 'the question', 'Reply')
  await say(ada, 'the answer')
  await expect(ada.getByRole('group', { name: /^Reply to/ })).toHaveCount(0)
  await expect(row(ada, 'the answer').locator('.quote')).toContainText('the question')
  // It is not loaded at Bob's yet.
  const quote = row(bob, 'the answer').locator('.quote')
  await expect(quote).toContainText('An earlier message')
  await quote.click()
  await expect(row(bob, 'the question')).toBeInViewport()
  await expect(row(bob, 'the question')).toHaveClass(/message--shown/)
  await bob.goBack()
  await expect(bob).toHaveURL(/\/r\/s3$/)
})

test('S4: a reaction counts at everyone, says who, and is taken back by pressing it again', async ({ browser }) => {
  const ada = await person(browser, 0, 's4')
  const bob = await person(browser, 1, 's4')
  await say(ada, 'good news')
  await act(bob, 'good news', 'React')
  await dialog(bob, 'React').getByRole('button', { name: 'React with 🎉' }).click()
  const chip = (page: Page, emoji: string) => row(page, 'good news').locator('.reaction', { hasText: emoji })
  await expect(chip(ada, '🎉')).toHaveText(/🎉\s*1/)
  await expect(chip(ada, '🎉')).toHaveAttribute('aria-pressed', 'false')
  await expect(chip(bob, '🎉')).toHaveAttribute('aria-pressed', 'true')
  await expect(chip(ada, '🎉')).toHaveAttribute('title', await nameOf(bob))
  await chip(ada, '🎉').click()
  for (const page of [ada, bob]) await expect(chip(page, '🎉')).toHaveText(/🎉\s*2/)
  await chip(bob, '🎉').click()
  for (const page of [ada, bob]) await expect(chip(page, '🎉')).toHaveText(/🎉\s*1/)
  await expect(chip(bob, '🎉')).toHaveAttribute('aria-pressed', 'false')
  await act(ada, 'good news', 'React')
  await ada.getByLabel('Any other emoji').fill('🦊')
  await ada.keyboard.press('Enter')
  await expect(chip(bob, '🦊')).toHaveText(/🦊\s*1/)
  await expect(row(ada, 'good news')).toBeFocused()
})

test('S5: an @ offers names, and who is mentioned sees it marked, counted in the title', async ({ browser }) => {
  const ada = await person(browser, 0, 's5')
  const bob = await person(browser, 1, 's5')
  const eve = await person(browser, 1, 's5')
  const name = await nameOf(bob)
  await expect(ada.locator('li.member')).toHaveCount(3)
  await turn(bob, 'hidden')
  await box(ada).pressSequentially('hello @')
  const list = ada.getByRole('listbox', { name: 'Members' })
  await expect(list.getByRole('option')).toHaveCount(2)
  await expect(list.getByRole('option').first()).toHaveAttribute('aria-selected', 'true')
  await ada.keyboard.press('ArrowDown')
  await expect(list.getByRole('option').nth(1)).toHaveAttribute('aria-selected', 'true')
  await expect(box(ada)).toHaveAttribute('aria-activedescendant', 'mention-1')
  await ada.keyboard.press('Escape')
  await expect(list).toHaveCount(0)
  await expect(box(ada)).toHaveValue('hello @')
  await box(ada).fill('')
  await box(ada).pressSequentially(`hello @${name.slice(0, 3).toLowerCase()}`)
  const option = list.getByRole('option', { name })
  for (let n = 0; n < 3 && (await option.getAttribute('aria-selected')) !== 'true'; n++) await ada.keyboard.press('ArrowDown')
  await ada.keyboard.press('Enter')
  await expect(box(ada)).toHaveValue(`hello @${name} `)
  await box(ada).pressSequentially('and welcome')
  await ada.keyboard.press('Enter')
  await expect(row(bob, 'and welcome')).toHaveClass(/message--for-me/)
  await expect(bob).toHaveTitle(/^\(1\) /)
  await expect(row(eve, 'and welcome')).toBeVisible()
  for (const page of [ada, eve]) await expect(row(page, 'and welcome')).not.toHaveClass(/message--for-me/)
})

test('S11: the link that a message gives leads to it', async ({ browser }) => {
  const context = { permissions: ['clipboard-read', 'clipboard-write'] }
  const ada = await person(browser, 0, 's11-copy', context)
  await say(ada, 'the place to be')
  await act(ada, 'the place to be', 'Copy link')
  await expect(row(ada, 'the place to be').getByRole('button', { name: 'Copied' })).toBeVisible()
  const link = await ada.evaluate(() => navigator.clipboard.readText())
  expect(link).toMatch(new RegExp(`^${stack.urls[0]}/r/s11-copy/m/1-\\w`))
  await ada.goto(link)
  await expect(row(ada, 'the place to be')).toHaveClass(/message--shown/)
})

test('S2–S4: all of it by the keyboard', async ({ browser }) => {
  const ada = await person(browser, 0, 's-keys')
  for (const text of ['one', 'two']) await say(ada, text)
  await expect(row(ada, 'two')).toBeVisible()
  await ada.getByRole('region', { name: 'Messages' }).focus()
  await ada.keyboard.press('ArrowUp')
  await expect(row(ada, 'two')).toBeFocused()
  await ada.keyboard.press('ArrowUp')
  await expect(row(ada, 'one')).toBeFocused()
  await ada.keyboard.press('Tab')
  const button = (name: string) => row(ada, 'one').getByRole('button', { name, exact: true })
  await expect(button('React')).toBeFocused()
  await ada.keyboard.press('ArrowRight')
  await expect(button('Reply')).toBeFocused()
  await ada.keyboard.press('End')
  await expect(button('Delete')).toBeFocused()
  await ada.keyboard.press('Home')
  await ada.keyboard.press('Enter')
  await expect(dialog(ada, 'React')).toBeVisible()
  await ada.keyboard.press('Escape')
  await expect(row(ada, 'one')).toBeFocused()
  await ada.keyboard.press('ArrowDown')
  await expect(row(ada, 'two')).toBeFocused()
  await expect(ada.getByRole('toolbar')).toHaveCount(1)
})

test('S2–S5: on a phone a tap shows what can be done', async ({ browser }) => {
  const ada = await person(browser, 0, 's-phone', { viewport: { width: 390, height: 780 }, hasTouch: true, isMobile: true })
  await say(ada, 'tap me')
  await row(ada, 'tap me').locator('.message__text').tap()
  const edit = row(ada, 'tap me').getByRole('button', { name: 'Edit', exact: true })
  await expect(edit).toBeVisible()
  expect((await edit.boundingBox())!.width).toBeGreaterThanOrEqual(24)
  expect(await fits(ada)).toBe(true)
  await edit.tap()
  await expect(box(ada)).toHaveValue('tap me')
})

for (const options of [{ colorScheme: 'light' }, { colorScheme: 'dark' }, { colorScheme: 'light', viewport: { width: 390, height: 780 } }] as const) {
  const name = `${options.colorScheme}${'viewport' in options ? ', a phone' : ''}`
  test(`M22: axe finds nothing in what is done to messages (${name})`, async ({ browser }, { title }) => {
    const room = `axe-${title.length}-${'viewport' in options}`
    const ada = await person(browser, 0, room, { ...options, reducedMotion: 'reduce' })
    const me = await ada.evaluate(() => JSON.parse(atob(localStorage.getItem('parlor.token')!.split('.')[1]!.replace(/-/g, '+').replace(/_/g, '/'))).sub).catch(() => '')
    await others(ada, room, [{}])
    await theySay(ada, room, 'a word for you', { mentions: [me] })
    await expect(row(ada, 'a word for you')).toHaveClass(/message--for-me/)
    await say(ada, 'mine')
    await act(ada, 'a word for you', 'React')
    await scan(ada, 'the reactions to choose from')
    await dialog(ada, 'React').getByRole('button', { name: 'React with 👍' }).click()
    await expect(ada.locator('.reaction')).toHaveCount(1)
    await act(ada, 'a word for you', 'Reply')
    await scan(ada, 'a reply')
    await say(ada, 'an answer')
    await expect(row(ada, 'an answer').locator('.quote')).toBeVisible()
    await act(ada, 'mine', 'Edit')
    await scan(ada, 'an edit')
    await say(ada, 'mine, edited')
    await expect(row(ada, 'mine, edited')).toContainText('(edited)')
    await act(ada, 'mine, edited', 'Delete')
    await scan(ada, 'a question before a deletion')
    await ada.keyboard.press('Escape')
    await box(ada).pressSequentially('@')
    await expect(ada.getByRole('listbox')).toBeVisible()
    await scan(ada, 'whom an @ may mean')
    expect(await fits(ada)).toBe(true)
  })
}
