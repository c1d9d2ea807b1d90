/** The page for who cannot see it well, or use a mouse: axe in each state, and the keyboard alone. */
import AxeBuilder from '@axe-core/playwright'
import { expect, test, type Browser, type Page } from '@playwright/test'
import { box, leave, others, person as anyPerson, say, texts, theySay, troubles } from './people.ts'
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

const scan = async (page: Page, state: string) => {
  const { violations } = await new AxeBuilder({ page }).options({ rules: { 'target-size': { enabled: true } } }).analyze()
  expect(violations.map(({ id, nodes }) => [id, nodes[0]?.html]), state).toEqual([])
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`M22: axe finds nothing in any state (${colorScheme})`, async ({ browser }) => {
    const room = `m22-${colorScheme}`
    const ada = await person(browser, 0, room, { colorScheme })
    await scan(ada, 'an empty room')
    await say(ada, '**b** `c` [l](https://example.org)\n\n> q\n\n```rust\n/// d\nfn f(x: u8) -> &str { "s" }\n```')
    await expect(ada.locator('.hljs-keyword').first()).toBeVisible()
    await others(ada, room, [{}, {}, {}, {}, {}, { bot: true }])
    await expect(ada.locator('.notice').first()).toBeVisible()
    await say(ada, '\u200b')
    await expect(ada.getByText('Not sent:')).toBeVisible()
    await box(ada).fill('x'.repeat(8193))
    await scan(ada, 'a room with a failed message, a notice, too long a text')
    await ada.getByRole('button', { name: 'Settings' }).click()
    await scan(ada, 'the settings')
    await ada.keyboard.press('Escape')
    await ada.getByRole('button', { name: 'Keyboard shortcuts' }).click()
    await scan(ada, 'the shortcuts')
    await ada.keyboard.press('Escape')
    await ada.keyboard.press('Control+k')
    await scan(ada, 'the rooms')
    await ada.keyboard.press('Escape')
    await ada.setViewportSize({ width: 390, height: 780 })
    await scan(ada, 'a phone')
    for (const drawer of ['6 members', '7 members', 'Rooms']) {
      const button = ada.locator('.bar').getByRole('button', { name: drawer })
      if (!(await button.count())) continue
      await button.click()
      await scan(ada, `the drawer of ${drawer}`)
      await ada.keyboard.press('Escape')
    }
    await ada.context().setOffline(true)
    await expect(ada.locator('.banner--offline')).toBeVisible()
    await scan(ada, 'a banner')
    await ada.goto(`${stack.urls[0]}/r/NO`).catch(() => {})
    await ada.context().setOffline(false)
    await ada.goto(`${stack.urls[0]}/r/NO`)
    await expect(ada.locator('.empty')).toBeVisible()
    await scan(ada, 'no such room')
  })
}

test('M22: all of it by the keyboard', async ({ browser }) => {
  const ada = await person(browser, 0, 'keyboard')
  await expect(ada.getByRole('button', { name: 'Attach files' })).toBeVisible()
  const at = (name: RegExp | string, role: Parameters<Page['getByRole']>[0] = 'button') => expect(ada.getByRole(role, { name })).toBeFocused()
  await ada.keyboard.press('Tab')
  await at('Skip to the message box', 'link')
  await ada.keyboard.press('Tab')
  await at('Keyboard shortcuts')
  await ada.keyboard.press('Tab')
  await at('Settings')
  await ada.keyboard.press('Tab')
  await at('Find or open a room')
  await ada.keyboard.press('Tab')
  await at('keyboard', 'link')
  await ada.keyboard.press('Tab')
  await at('Members', 'navigation')
  await ada.keyboard.press('Tab')
  await at('Messages', 'region')
  await ada.keyboard.press('Tab')
  await at('Attach files')
  await ada.keyboard.press('Tab')
  await at('Your message', 'textbox')
  await ada.keyboard.type('typed')
  await ada.keyboard.press('Enter')
  await expect(texts(ada)).toHaveText(['typed'])
  await ada.getByRole('button', { name: 'Settings' }).focus()
  await ada.keyboard.press('Enter')
  await expect(ada.getByRole('dialog', { name: 'Settings' })).toBeVisible()
  await ada.keyboard.press('Escape')
  await at('Settings')
})

test('M22: a screen reader hears what others say from now on, and nothing else', async ({ browser }) => {
  const ada = await person(browser, 0, 'spoken')
  await others(ada, 'spoken', [{}])
  await theySay(ada, 'spoken', 'history')
  await expect(texts(ada)).toHaveText(['history'])
  const bob = await person(browser, 1, 'spoken')
  await expect(texts(bob)).toHaveText(['history'])
  await say(bob, 'mine')
  await expect(bob.locator('.message:not(.message--pending)')).toHaveCount(2)
  await theySay(ada, 'spoken', 'news')
  await expect(bob.getByRole('log').locator('p')).toHaveText([/: news$/])
  await leave(ada)
})

test('S12: keys of their own: shortcuts, rooms, regions', async ({ browser }) => {
  const ada = await person(browser, 0, 's12')
  await box(ada).press('?')
  await expect(box(ada)).toHaveValue('?')
  await expect(ada.locator('dialog')).toHaveCount(0)
  const regions = [ada.getByRole('link', { name: 's12' }), ada.getByRole('navigation', { name: 'Members' }), ada.getByRole('region', { name: 'Messages' }), box(ada)]
  for (const region of regions) {
    await ada.keyboard.press('F6')
    await expect(region).toBeFocused()
  }
  for (const region of regions.slice(0, 3).reverse()) {
    await ada.keyboard.press('Shift+F6')
    await expect(region).toBeFocused()
  }
  await ada.keyboard.press('?')
  const dialog = ada.getByRole('dialog', { name: 'Keyboard shortcuts' })
  await expect(dialog).toBeVisible()
  await expect(dialog).toContainText('F6')
  await ada.keyboard.press('Escape')
  await expect(dialog).toHaveCount(0)
  await ada.keyboard.press('Control+k')
  await expect(ada.getByRole('combobox', { name: 'Name of a room' })).toBeFocused()
  await ada.keyboard.type('the-library')
  await expect(ada.getByRole('option')).toHaveText(['Open the-library'])
  await ada.keyboard.press('Enter')
  await expect(ada.getByRole('heading', { level: 1 })).toHaveText('the-library')
})

test('S9: rooms are found by a part of their name, with what is unread in them', async ({ browser }) => {
  const ada = await person(browser, 0, 's9-kitchen')
  const bob = await person(browser, 1, 's9-kitchen')
  await ada.keyboard.press('Control+k')
  await ada.getByRole('combobox').fill('s9-library')
  await ada.keyboard.press('Enter')
  await expect(ada.getByRole('heading', { level: 1 })).toHaveText('s9-library')
  await expect(ada).toHaveURL(/\/r\/s9-library$/)
  await say(bob, 'dinner')
  await say(bob, 'is ready')
  await expect(ada.getByRole('link', { name: 's9-kitchen' })).toContainText('2 unread messages')
  await ada.keyboard.press('Control+k')
  const options = ada.getByRole('option')
  await ada.getByRole('combobox').fill('s9-')
  await expect(options).toHaveText([/^s9-kitchen\s*2$/, 's9-library', 'Open s9-'])
  await expect(options.nth(0)).toHaveAttribute('aria-selected', 'true')
  await ada.keyboard.press('ArrowUp')
  await expect(options.nth(2)).toHaveAttribute('aria-selected', 'true')
  await ada.keyboard.press('ArrowDown')
  await scan(ada, 'rooms that were found')
  await ada.keyboard.press('Enter')
  await expect(ada.getByRole('heading', { level: 1 })).toHaveText('s9-kitchen')
  await expect(texts(ada)).toHaveText(['dinner', 'is ready'])
  await ada.keyboard.press('Control+k')
  await ada.getByRole('combobox').fill('No Room')
  await expect(options).toHaveCount(0)
  await expect(ada.getByRole('status').filter({ hasText: 'A name has' })).toBeVisible()
})
