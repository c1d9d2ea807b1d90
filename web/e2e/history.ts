/** Rooms in which much was said before anybody looks. */
import type { Browser } from '@playwright/test'

/** What one session may say at once. */
const BURST = 200

/** Says "line 1" to "line `count`", one guest after the other, each as much as a guest may say at once. */
export async function fill(browser: Browser, origin: string, room: string, count: number, text = (n: number) => `line ${n}`) {
  const page = await browser.newPage()
  await page.goto(`${origin}/favicon.svg`)
  for (let from = 1; from <= count; from += BURST) {
    const texts = Array.from({ length: Math.min(BURST, count - from + 1) }, (_, n) => text(from + n))
    await page.evaluate(
      ([name, words]) =>
        new Promise<void>((done, fail) => {
          const socket = new WebSocket(`ws://${location.host}/ws`)
          let kept = 0
          socket.onopen = () => socket.send(JSON.stringify({ id: 1, hello: {} }))
          socket.onclose = () => fail(new Error('closed'))
          socket.onmessage = ({ data }) => {
            const frame = JSON.parse(String(data))
            if (frame.welcome) socket.send(JSON.stringify({ id: 2, join: { room: name } }))
            if (frame.error) fail(new Error(frame.error.message))
            if (frame.joined) words.forEach((text, n) => socket.send(JSON.stringify({ id: n + 3, send: { room: name, client_id: `${n}`, text } })))
            if (frame.sent && ++kept === words.length) {
              socket.onclose = null
              socket.close(1000)
              done()
            }
          }
        }),
      [room, texts] as const,
    )
  }
  await page.close()
}

/** A message of a room, as the HTTP door tells it. */
export async function message(origin: string, room: string, seq: number): Promise<{ seq: number; id: string }> {
  const { token } = await (await fetch(`${origin}/v1/tokens`, { method: 'POST' })).json()
  const url = `${origin}/v1/rooms/${room}/messages?before=${seq + 1}&limit=1`
  const { messages } = await (await fetch(url, { headers: { authorization: `Bearer ${token}` } })).json()
  return messages[0]
}
