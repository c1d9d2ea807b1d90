/** What a browser loads before the first message is drawn must stay small: a phone on a train loads it too. */
import { gzipSync } from 'node:zlib'
import { expect, it, vi } from 'vitest'
import { build } from 'vite'

const MOST_KB = 90

it(`all that loads first is at most ${MOST_KB} kB, compressed`, { timeout: 60_000 }, async () => {
  // As it is served: without the warnings for those who write it.
  vi.stubEnv('NODE_ENV', 'production')
  const built = await build({ logLevel: 'silent', build: { write: false } })
  const files = (Array.isArray(built) ? built : [built]).flatMap((each) => ('output' in each ? each.output : []))
  const chunks = new Map(files.flatMap((file) => (file.type === 'chunk' ? [[file.fileName, file]] : [])))
  const first = new Set<string>()
  const take = (name: string) => {
    if (first.has(name)) return
    first.add(name)
    chunks.get(name)?.imports.forEach(take)
  }
  for (const chunk of chunks.values()) if (chunk.isEntry) take(chunk.fileName)
  const sizes = files
    .filter((file) => first.has(file.fileName) || /\.(css|html)$/.test(file.fileName))
    .map((file) => gzipSync(file.type === 'chunk' ? file.code : file.source).length)
  expect(first.size).toBeGreaterThan(0)
  expect(sizes.reduce((sum, size) => sum + size, 0) / 1000).toBeLessThanOrEqual(MOST_KB)
})
