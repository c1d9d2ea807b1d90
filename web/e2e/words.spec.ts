/** The page in other languages, and from right to left. */
import { expect, test, type Browser, type Page } from '@playwright/test'
import { fits, others, person as anyPerson, say, texts, visit } from './people.ts'
import { Stack } from './stack.ts'

let stack: Stack
const person = (browser: Browser, gateway: number, room: string, options = {}) => anyPerson(stack, browser, gateway, room, options)

test.beforeAll(async () => {
  stack = await new Stack().start()
})
test.afterAll(() => stack.stop())

/** All words of the page that a reader may see or hear, except what people, servers and `Intl` say. */
const words = (page: Page) =>
  page.evaluate(() => {
    const OTHERS = 'bdi, time, kbd, .message__text, .day, .brand, option[lang], .room__unread [aria-hidden], .bar__members, .panel-title__count, .dialog select, [role=log], script, style, title'
    const found: string[] = []
    const take = (text: string | null) => {
      if (text && /\p{L}/u.test(text)) found.push(text.trim())
    }
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) if (!walker.currentNode.parentElement!.closest(`${OTHERS}, noscript`)) take(walker.currentNode.textContent)
    for (const element of document.querySelectorAll('[aria-label], [placeholder], [title]')) {
      for (const name of ['aria-label', 'placeholder', 'title']) if (!element.matches(`${OTHERS}, .message a`)) take(element.getAttribute(name))
    }
    return found
  })

/** Brings the page into the states that have words of their own, and looks at each. */
async function throughAll(page: Page, room: string, look: (state: string) => Promise<void>) {
  await look('an empty room')
  await say(page, 'hello')
  await say(page, '\u200b')
  await expect(page.locator('.message__state--failed')).toBeVisible()
  await others(page, room, [{}, {}, {}, {}, {}])
  await expect(page.locator('.notice').first()).toBeVisible()
  await page.locator('#message-box').fill('x'.repeat(8000))
  await look('a room with a failed message, a notice, a full box')
  await page.locator('.timeline__scroll').focus()
  await page.keyboard.press('?')
  await look('the shortcuts')
  await page.keyboard.press('Escape')
  await page.keyboard.press('Control+k')
  await look('the rooms')
  await page.keyboard.type('NO ROOM')
  await look('no room')
  await page.keyboard.press('Escape')
  await page.locator('.bar .icon-button').last().click()
  await look('the settings')
  await page.keyboard.press('Escape')
  await page.context().setOffline(true)
  await expect(page.locator('.banner--offline')).toBeVisible()
  await look('offline')
  await page.context().setOffline(false)
}

for (const language of ['en-XA', 'ar-XB']) {
  test(`S10: no word is left untranslated (${language})`, async ({ browser }) => {
    const page = await visit(await browser.newPage(), stack.urls[0]!, `/r/${language.toLowerCase()}?lang=${language}`)
    await throughAll(page, language.toLowerCase(), async (state) => {
      const found = await words(page)
      expect(found.length, state).toBeGreaterThan(5)
      expect(found.filter((text) => !/^[(·]?\s*⟦/.test(text)), state).toEqual([])
    })
    await page.goto(`${stack.urls[0]}/r/NO?lang=${language}`)
    await expect(page.locator('.empty__title')).toHaveText(/⟦/)
  })
}

test('S10: the page speaks German, by link or by choice, and counts and dates as Germans do', async ({ browser }) => {
  const page = await visit(await browser.newPage(), stack.urls[0]!, '/r/deutsch?lang=de')
  await expect(page.locator('html')).toHaveAttribute('lang', 'de')
  await expect(page.getByText('Noch keine Nachrichten')).toBeVisible()
  await say(page, 'Guten Tag')
  await expect(page.locator('.day')).toHaveText('Heute')
  await page.locator('#message-box').fill('x'.repeat(8000))
  await expect(page.locator('#message-limit')).toHaveText('8.000 von 8.192 Bytes')

  const other = await person(browser, 1, 'deutsch')
  await expect(other.locator('.day')).toHaveText('Today')
  await other.getByRole('button', { name: 'Settings' }).click()
  await other.getByLabel('Language').selectOption('de')
  await expect(other.getByRole('dialog', { name: 'Einstellungen' })).toBeVisible()
  await expect(other.locator('.day')).toHaveText('Heute')
  await other.reload()
  await expect(other.locator('.day')).toHaveText('Heute')
  const austrian = await person(browser, 0, 'deutsch', { locale: 'de-AT' })
  await expect(austrian.locator('.day')).toHaveText('Heute')
})

test('S10: from right to left the page is mirrored, and a message reads in its own direction', async ({ browser }) => {
  const page = await visit(await browser.newPage(), stack.urls[0]!, '/r/rtl?lang=ar-XB')
  await say(page, 'from the left')
  await say(page, 'من اليمين')
  await expect(page.locator('.message:not(.message--pending)')).toHaveCount(2)
  const across = async (selector: string) => (await page.locator(selector).first().boundingBox())!.x
  expect(await across('.rooms')).toBeGreaterThan(await across('.timeline'))
  expect(await across('.timeline')).toBeGreaterThan(await across('.members'))
  expect(await across('.message__avatar')).toBeGreaterThan(await across('.message__author'))
  expect(await fits(page)).toBe(true)
  /** How far the words are from the right end of their line. */
  const indent = (n: number) =>
    texts(page).nth(n).locator('p').evaluate((line) => {
      const range = document.createRange()
      range.selectNodeContents(line.firstChild!)
      return Math.round(line.getBoundingClientRect().right - range.getBoundingClientRect().right)
    })
  expect([await indent(0), await indent(1)], 'both are at the side of the page').toEqual([0, 0])
  await page.setViewportSize({ width: 390, height: 780 })
  expect(await fits(page)).toBe(true)
})
