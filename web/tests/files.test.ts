import { expect, it } from 'vitest'
import { drawnSize, isDrawn, kindOf } from '../src/files.ts'
import { size } from '../src/words/sizes.ts'
import { formats } from '../src/words/index.ts'

const picture = { id: 'f_1', name: 'cat.png', type: 'image/png', size: 48_213, width: 640, height: 480 }

it('a picture keeps its shape in the largest box, and is not made larger than it is', () => {
  const sizes = [[640, 480], [100, 80], [300, 3000], [4000, 3000]].map(([width, height]) => drawnSize({ width: width!, height: height! }))
  expect(sizes.map(({ width, height }) => [width, height])).toEqual([[384, 288], [100, 80], [40, 320], [384, 288]])
})

it('what is like a line or a point can still be seen', () => {
  expect(drawnSize({ width: 65_000, height: 1 })).toEqual({ width: 384, height: 40 })
  expect(drawnSize({ width: 1, height: 1 })).toEqual({ width: 40, height: 40 })
})

it('only what the server knows as a picture is drawn', () => {
  expect(isDrawn(picture)).toBe(true)
  const others = [{ type: 'image/svg+xml' }, { type: 'text/html' }, { type: 'image/tiff' }, { width: 0 }, { height: 0 }]
  expect(others.map((other) => isDrawn({ ...picture, ...other }))).toEqual(others.map(() => false))
})

it('files have a kind in words', () => {
  const types = ['image/tiff', 'audio/ogg', 'video/mp4', 'text/plain', 'application/pdf', 'application/zip', 'application/x-7z-compressed', 'application/octet-stream', '']
  expect(types.map(kindOf)).toEqual(['Picture', 'Sound', 'Video', 'Text', 'Pdf', 'Archive', 'Archive', 'Other', 'Other'])
})

it('sizes are said in the unit that fits, as the language writes them', () => {
  expect([0, 999, 1000, 48_213, 999_600, 26_214_400].map(size)).toEqual(['0 bytes', '999 bytes', '1 kB', '48.2 kB', '1 MB', '26.2 MB'])
  formats.value = 'de'
  expect(size(1_540_000)).toBe('1,54 MB')
  formats.value = 'en'
})
