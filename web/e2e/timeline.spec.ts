/** Stories of reading: where the reader is, what may move them, what a long room costs. */
import { expect, test, type Browser, type Page } from '@playwright/test'
import { fill, message } from './history.ts'
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

const scroller = (page: Page) => page.locator('.timeline__scroll')
const line = (page: Page, n: number) => page.locator('.message__text', { hasText: new RegExp(`^line ${n}$`) })
const jump = (page: Page) => page.getByRole('button', { name: /^Jump to latest/ })

/** Turns the wheel over the messages. */
async function wheel(page: Page, pixels: number) {
  await scroller(page).hover()
  await page.mouse.wheel(0, pixels)
}

/** Scrolls up until this is drawn. */
async function upTo(page: Page, text: string) {
  await expect(async () => {
    await wheel(page, -2000)
    await expect(page.getByText(text, { exact: true })).toBeVisible({ timeout: 500 })
  }).toPass({ timeout: 60_000 })
}

test('M4: whoever comes in sees the last that was said, the newest in view', async ({ browser }) => {
  await fill(browser, stack.urls[0]!, 'm4', 20)
  const bob = await person(browser, 1, 'm4')
  await expect(texts(bob)).toHaveText(Array.from({ length: 20 }, (_, n) => `line ${n + 1}`))
  await expect(line(bob, 20)).toBeInViewport()
})

test('M5: Enter sends once, Shift+Enter breaks the line, and Enter that ends a composition does neither', async ({ browser }) => {
  const ada = await person(browser, 0, 'm5')
  const bob = await person(browser, 1, 'm5')
  const box = ada.locator('#message-box')
  await box.pressSequentially('one')
  await box.dispatchEvent('keydown', { key: 'Enter', isComposing: true })
  await box.press('Shift+Enter')
  await box.pressSequentially('two')
  await box.press('Enter')
  await expect(box).toHaveValue('')
  await expect(box).toBeFocused()
  await say(ada, 'three')
  for (const page of [ada, bob]) await expect(texts(page)).toHaveText(['one\ntwo', 'three'])
})

test('M14: who has scrolled up stays there, and is told how much is new and where it begins', async ({ browser }) => {
  await fill(browser, stack.urls[0]!, 'm14', 60)
  const ada = await person(browser, 0, 'm14')
  const bob = await person(browser, 1, 'm14')
  await expect(line(ada, 60)).toBeInViewport()
  await wheel(ada, -300)
  const seen = line(ada, 42)
  await expect(seen).toBeInViewport()
  const before = (await seen.boundingBox())!.y
  await say(bob, 'news')
  await say(bob, 'more news')
  await expect(jump(ada)).toHaveText('Jump to latest (2)')
  expect(Math.abs((await seen.boundingBox())!.y - before)).toBeLessThanOrEqual(2)
  await jump(ada).click()
  await expect(ada.getByText('more news', { exact: true })).toBeInViewport()
  await expect(jump(ada)).toBeHidden()
  const newHere = ada.locator('.line')
  await expect(newHere).toHaveText('New')
  expect(await newHere.evaluate((row) => row.nextElementSibling?.textContent)).toContain('news')
  await turn(ada, 'hidden')
  await turn(ada, 'visible')
  await expect(newHere).toHaveCount(0)
})

test('M14: who looked away finds the first new message where they left, and a line before it', async ({ browser }) => {
  await fill(browser, stack.urls[0]!, 'away', 30)
  const ada = await person(browser, 0, 'away')
  const bob = await person(browser, 1, 'away')
  await expect(line(ada, 30)).toBeInViewport()
  const before = (await line(ada, 30).boundingBox())!.y
  await turn(ada, 'hidden')
  for (let n = 1; n <= 3; n++) await say(bob, `news ${n}`)
  await expect(ada.getByText('news 3', { exact: true })).toBeAttached()
  expect(Math.abs((await line(ada, 30).boundingBox())!.y - before)).toBeLessThanOrEqual(2)
  await turn(ada, 'visible')
  await expect(jump(ada)).toHaveText('Jump to latest (3)')
  await expect(ada.locator('.line')).toBeAttached()
  await say(ada, 'my own words bring me to the end')
  await expect(texts(ada).last()).toBeInViewport()
  await expect(jump(ada)).toBeHidden()
})

test('M17: older pages come without moving what is read, to the beginning of the room', async ({ browser }) => {
  await fill(browser, stack.urls[0]!, 'm17', 330, (n) => (n % 7 ? `line ${n}` : `line ${n}\nwhich\nis longer`))
  const bob = await person(browser, 1, 'm17')
  await expect(line(bob, 330)).toBeInViewport()
  // The oldest that is loaded tells only how the next one looks.
  await upTo(bob, 'line 260')
  for (const history of [1, 2, 3]) {
    const moved = await bob.evaluate(async () => {
      const box = document.querySelector('.timeline__scroll')!
      const frame = () => new Promise(requestAnimationFrame)
      const rows = () => [...box.querySelectorAll<HTMLElement>('.message')]
      // What the wheel began goes on for a while.
      for (let still = 0, last = -1; still < 10; last = box.scrollTop) {
        await frame()
        still = box.scrollTop === last ? still + 1 : 0
      }
      box.scrollTop = 300
      for (let n = 0; n < 5; n++) await frame()
      const eye = rows().find((row) => row.getBoundingClientRect().top > box.getBoundingClientRect().top)!
      const [text, height] = [eye.textContent, box.scrollHeight]
      const top = () => rows().find((row) => row.textContent === text)?.getBoundingClientRect().top ?? Infinity
      const first = top()
      let most = 0
      for (let n = 0; n < 300 && (box.scrollHeight === height || n < 60); n++) {
        await frame()
        most = Math.max(most, Math.abs(top() - first))
      }
      return most
    })
    expect(moved, `page ${history}`).toBeLessThanOrEqual(2)
  }
  await upTo(bob, 'Beginning of the room')
  await expect(line(bob, 1)).toBeVisible()
})

test('M18: ten thousand messages cost what is in sight, and two thousand at once end at the last', async ({ browser }) => {
  test.setTimeout(240_000)
  await fill(browser, stack.urls[0]!, 'm18', 10_000)
  const ada = await person(browser, 0, 'm18')
  const nodes = () => ada.evaluate(() => document.querySelectorAll('*').length)
  await expect(texts(ada).last()).toBeInViewport()
  for (let n = 0; n < 20; n++) await wheel(ada, -3000)
  expect(await nodes()).toBeLessThanOrEqual(1500)
  await jump(ada).click()
  await expect(line(ada, 10_000)).toBeInViewport()
  await fill(browser, stack.urls[1]!, 'm18', 2000)
  await expect(line(ada, 2000)).toBeInViewport()
  expect(await nodes()).toBeLessThanOrEqual(1500)
})

test('a busy room is followed past what the page keeps, until its reader scrolls up', async ({ browser }) => {
  test.setTimeout(240_000)
  const ada = await person(browser, 0, 'busy')
  // High rows go above while low ones come below, and the other way round.
  for (let round = 1; round <= 7; round++) {
    const words = round % 2 ? 'and so on '.repeat(10) : ''
    await fill(browser, stack.urls[1]!, 'busy', 1000, (n) => `round ${round}, line ${n}, ${words}`)
    await expect(texts(ada).last()).toContainText(`round ${round}, line 1000,`)
    await expect(texts(ada).last()).toBeInViewport()
    await expect(jump(ada)).toBeHidden()
  }
  await wheel(ada, -300)
  const seen = ada.getByText('round 7, line 990,')
  await expect(seen).toBeInViewport()
  const before = (await seen.boundingBox())!.y
  await fill(browser, stack.urls[1]!, 'busy', 1)
  await expect(jump(ada)).toHaveText('Jump to latest (1)')
  expect(Math.abs((await seen.boundingBox())!.y - before)).toBeLessThanOrEqual(2)
})

test('S11: a link to a message opens the room around it, and leads back to the latest', async ({ browser }) => {
  await fill(browser, stack.urls[0]!, 's11', 700)
  const { seq, id } = await message(stack.urls[0]!, 's11', 300)
  const ada = await (await browser.newContext()).newPage()
  await visit(ada, stack.urls[0]!, `/r/s11/m/${seq}-${id}`)
  await expect(line(ada, 300)).toBeInViewport()
  await expect(ada.locator('.message--shown')).toContainText('line 300')
  await expect(jump(ada)).toBeVisible()
  await fill(browser, stack.urls[1]!, 's11', 1, () => 'news')
  await expect(line(ada, 300)).toBeInViewport()
  await jump(ada).click()
  await expect(ada.getByText('news', { exact: true })).toBeInViewport()
  await ada.goto(`${stack.urls[0]}/r/s11/m/${seq}-x`)
  await expect(ada.getByText('This message is not kept any more.')).toBeVisible()
})
