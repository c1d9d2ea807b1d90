/** The golden frames in `proto/fixtures`, which the Rust tests read too. */
import { readdirSync, readFileSync } from 'node:fs'
import { fromJson, toJson, type JsonValue } from '@bufbuild/protobuf'
import { describe, expect, it } from 'vitest'
import { ClientFrameSchema, ServerFrameSchema } from '../src/gen/chat/v1/chat_pb.ts'
import { decode, encode, type Ask } from '../src/protocol/frames.ts'

const folder = new URL('../../proto/fixtures/', import.meta.url)
const golden = (side: string) =>
  readdirSync(new URL(side, folder)).map((file) => ({
    name: file.replace('.json', ''),
    json: JSON.parse(readFileSync(new URL(`${side}/${file}`, folder), 'utf8')) as { [key: string]: JsonValue },
  }))

describe.each([
  ['client', ClientFrameSchema],
  ['server', ServerFrameSchema],
] as const)('a golden %s frame', (side, schema) => {
  it.each(golden(side))('$name is read and written back', ({ json }) => {
    expect(toJson(schema, fromJson(schema, json), { useProtoFieldName: true })).toEqual(json)
  })
})

describe('our reader', () => {
  const notNeeded = ['typed']

  it.each(golden('server'))('understands $name', ({ json }) => {
    const frame = decode(JSON.stringify(json))
    const body = Object.keys(json).find((key) => key !== 'id')!
    expect(frame.id).toBe(json.id ?? 0)
    expect(frame.body.type).toBe(notNeeded.includes(body) ? 'unknown' : body)
    expect(JSON.stringify(frame)).not.toContain('null')
  })

  it('fills in what ProtoJSON leaves out', () => {
    expect(decode('{"joined":{"room":"a"}}').body).toEqual({
      type: 'joined', room: 'a', epoch: '', head: 0, resumed: false, messages: [], members: [], memberCount: 0, read: 0,
    })
  })

  it('does not mind a newer word', () => {
    expect(decode('{"reaction":{"room":"a"}}').body).toEqual({ type: 'unknown' })
  })

  it.each(golden('client'))('writes $name as the proto says', ({ json: { id, ...ask } }) => {
    expect(JSON.parse(encode(Number(id), ask as Ask))).toEqual({ id, ...ask })
  })
})
