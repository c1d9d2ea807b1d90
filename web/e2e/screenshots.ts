/** Pictures of the page in its states, for people to look at: `npm run screenshots` writes them to `screenshots/`. */
import { expect, test, type Page } from '@playwright/test'
import { box, others, person, say, texts, theySay } from './people.ts'
import { Stack } from './stack.ts'

const PHONE = { width: 390, height: 780 }
const DESKTOP = { width: 1280, height: 800 }

const TALK: [who: 0 | 1, text: string][] = [
  [0, 'Morning! The gateway moved to the new hosts last night. **No browser noticed**, as far as I can see.'],
  [0, 'Numbers are in the [report](https://parlor.example/reports/42).'],
  [1, 'Nice. What did the drain look like?'],
  [
    0,
    'Four batches, one every five seconds:\n\n```rust\n/// Tells the sessions to move, a batch at a time.\nasync fn drain(hub: &Hub, within: Duration) {\n    for batch in hub.batches(BATCHES) {\n        batch.send(Move { within });\n        sleep(within / BATCHES as u32).await;\n    }\n}\n```',
  ],
  [1, 'So the last ones waited 15 s. Three things before we call it done:\n\n1. the same with Redis failing over in the middle\n2. the alert for `outbox_dropped`\n3. ~~a party~~ _cake_'],
  [1, '> No browser noticed\n\nMine did not, and I was typing the whole time.'],
  [0, 'Cake it is. 🍰 I take 1, you take 2?'],
  [1, 'Deal.'],
]

let stack: Stack

test.beforeAll(async () => {
  stack = await new Stack().start()
})
test.afterAll(() => stack.stop())

/** A room in which two have talked, as the second sees it. */
async function talk(browser: Parameters<typeof person>[1], room: string, options = {}): Promise<Page> {
  const ada = await person(stack, browser, 0, room, { viewport: DESKTOP })
  const page = await person(stack, browser, 1, room, { viewport: DESKTOP, ...options })
  for (const [n, [who, text]] of TALK.entries()) {
    await say(who === 0 ? ada : page, text)
    await expect(page.locator('.message:not(.message--pending)')).toHaveCount(n + 1)
  }
  await expect(page.locator('.hljs-keyword').first()).toBeVisible()
  return page
}

async function shot(page: Page, name: string) {
  await page.mouse.move(0, 0)
  await page.screenshot({ path: `screenshots/${name}.png`, animations: 'disabled' })
}

test('a conversation, on a desktop in light and dark, on a phone, from right to left', async ({ browser }) => {
  const page = await talk(browser, 'operations')
  await shot(page, 'desktop')
  await page.emulateMedia({ colorScheme: 'dark' })
  await shot(page, 'dark')
  await page.setViewportSize(PHONE)
  await page.getByRole('region').evaluate((box) => (box.scrollTop = box.scrollHeight))
  await shot(page, 'phone-dark')
  await page.emulateMedia({ colorScheme: 'light' })
  await shot(page, 'phone')
  await page.locator('.bar__members').click()
  await shot(page, 'phone-members')
  await page.keyboard.press('Escape')
  await page.locator('.bar__rooms').click()
  await shot(page, 'phone-rooms')
  await page.keyboard.press('Escape')
  await page.setViewportSize(DESKTOP)
  await page.goto(`${stack.urls[1]}/r/operations?lang=ar-XB`)
  await expect(texts(page).first()).toBeVisible()
  await shot(page, 'right-to-left')
})

test('what is in the way, and what is not there yet', async ({ browser }) => {
  const page = await talk(browser, 'faults')
  await page.context().setOffline(true)
  await say(page, 'This waits for the network.')
  await expect(page.locator('.banner--offline')).toBeVisible()
  await shot(page, 'offline')
  const empty = await person(stack, browser, 0, 'the-library', { viewport: DESKTOP })
  await shot(empty, 'empty')
  await empty.goto(`${stack.urls[0]}/r/Not%20a%20room`)
  await shot(empty, 'no-such-room')
})

test('dialogs', async ({ browser }) => {
  const page = await person(stack, browser, 0, 'library', { viewport: DESKTOP })
  for (const room of ['kitchen', 'workshop', 'garden']) {
    await page.keyboard.press('Control+k')
    await page.getByRole('combobox').fill(room)
    await page.keyboard.press('Enter')
    await expect(page.getByRole('heading', { level: 1 })).toHaveText(room)
    await expect(page.locator('.tag--you')).toHaveCount(1)
  }
  await others(page, 'kitchen', [{}])
  await theySay(page, 'kitchen', 'dinner is ready')
  await expect(page.locator('.room__unread')).toBeVisible()
  await page.keyboard.press('Control+k')
  await page.keyboard.type('k')
  await shot(page, 'find-room')
  await page.keyboard.press('Escape')
  await page.getByRole('button', { name: 'Settings' }).click()
  await shot(page, 'settings')
  await page.keyboard.press('Escape')
  await page.locator('.timeline__scroll').focus()
  await page.keyboard.press('?')
  await page.emulateMedia({ colorScheme: 'dark' })
  await shot(page, 'shortcuts')
})

test('a large room', async ({ browser }) => {
  const page = await person(stack, browser, 0, 'large', { viewport: DESKTOP })
  await others(page, 'large', Array.from({ length: 199 }, () => ({})))
  await expect(page.locator('li.member')).toHaveCount(200)
  await say(page, 'Quite a crowd today.')
  await say(page, 'Welcome, everyone!')
  await box(page).fill('I am about to say something longer, with a second line:\n\n- so that the box grows\n- and shows it')
  await expect(page.locator('.message--pending')).toHaveCount(0)
  await shot(page, 'crowd')
})
