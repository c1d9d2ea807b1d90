/**
 * What the page costs a browser: `npm run figures` prints it. CPU is the renderer's, as Chromium's DevTools protocol
 * tells it, so that a busy machine does not count. Nothing is asserted but that it ran: figures are judged by people.
 */
import { test, type CDPSession, type Page } from '@playwright/test'
import { FaultyWay } from './faults.ts'
import { fill } from './history.ts'
import { texts, visit } from './people.ts'
import { Stack } from './stack.ts'

let stack: Stack
let way: FaultyWay

test.beforeAll(async () => {
  test.setTimeout(600_000)
  stack = await new Stack().start()
  way = await new FaultyWay(stack.urls[0]!).open()
})
test.afterAll(async () => {
  way.close()
  await stack.stop()
})

function tell(what: string, figure: number, unit: string, aim: string) {
  console.log(`${what}: ${figure.toFixed(figure < 10 ? 2 : 0)} ${unit} (aim: ${aim})`)
}

async function measured(page: Page): Promise<CDPSession> {
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('Performance.enable', { timeDomain: 'threadTicks' })
  return devtools
}

async function metric(devtools: CDPSession, name: 'TaskDuration' | 'JSHeapUsedSize'): Promise<number> {
  const { metrics } = await devtools.send('Performance.getMetrics')
  return metrics.find((each) => each.name === name)!.value
}

async function heap(devtools: CDPSession): Promise<number> {
  await devtools.send('HeapProfiler.collectGarbage')
  return (await metric(devtools, 'JSHeapUsedSize')) / 1e6
}

/** The message that was said last is drawn at the end. */
const drawn = (page: Page, text: string) => texts(page).last().filter({ hasText: text }).waitFor({ timeout: 60_000 })

test('figures', async ({ browser }) => {
  await fill(browser, stack.urls[0]!, 'long', 10_000)
  const page = await (await browser.newContext()).newPage()
  const devtools = await measured(page)
  await visit(page, way.url, '/r/long')
  await drawn(page, 'line 10000')
  tell('first message of 10,000 drawn', (await metric(devtools, 'TaskDuration')) * 1000, 'ms CPU', '≤ 1500')

  // Loads what it scrolls through, page by page.
  const before = await metric(devtools, 'TaskDuration')
  const frames = await page.evaluate(async () => {
    const box = document.querySelector('.timeline__scroll')!
    let count = 0
    for (; count < 600; count++) {
      box.scrollTop -= 60
      await new Promise(requestAnimationFrame)
    }
    return count
  })
  tell('ordinary scrolling, 60 px a frame', (((await metric(devtools, 'TaskDuration')) - before) * 1000) / frames, 'ms CPU a frame', '≤ 10')

  const moved = await page.evaluate(async () => {
    const box = document.querySelector('.timeline__scroll')!
    const frame = () => new Promise(requestAnimationFrame)
    const rows = () => [...box.querySelectorAll<HTMLElement>('.message')]
    let most = 0
    for (let history = 0; history < 5; history++) {
      box.scrollTop = 400
      for (let n = 0; n < 5; n++) await frame()
      const eye = rows().find((row) => row.getBoundingClientRect().top > box.getBoundingClientRect().top)!.textContent
      const top = () => rows().find((row) => row.textContent === eye)?.getBoundingClientRect().top ?? Infinity
      const [first, height] = [top(), box.scrollHeight]
      for (let n = 0; n < 300 && (box.scrollHeight === height || n < 30); n++) {
        await frame()
        most = Math.max(most, Math.abs(top() - first))
      }
    }
    return most
  })
  tell('movement when older pages come', moved, 'px', '≤ 2')

  await page.reload()
  await drawn(page, 'line 10000')
  way.stall()
  await fill(browser, stack.urls[1]!, 'long', 2000, (n) => `burst ${n}`)
  const beforeBurst = await metric(devtools, 'TaskDuration')
  way.mend()
  await drawn(page, 'burst 2000')
  tell('2,000 messages at once drawn', (await metric(devtools, 'TaskDuration')) - beforeBurst, 's CPU', '≤ 2')

  // Four times what the page keeps: a day of a busy room in a minute or two.
  for (let round = 1; round <= 4; round++) {
    await fill(browser, stack.urls[1]!, 'long', 5000, (n) => `round ${round}, line ${n}, ${'and so on '.repeat(10)}`)
    await drawn(page, `round ${round}, line 5000,`)
    tell(`heap after ${2000 + 5000 * round} messages heard`, await heap(devtools), 'MB', 'bounded')
  }
})
