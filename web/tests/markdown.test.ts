import { describe, expect, it } from 'vitest'
import type { VNode, VNodeChild } from 'vue'
import { drawText } from '../src/markdown/draw.ts'

/** What is drawn, as short HTML; what was not markup is only its text. */
function html(drawn: VNodeChild): string {
  if (Array.isArray(drawn)) return drawn.map(html).join('')
  if (drawn === null || drawn === undefined || typeof drawn === 'boolean') return ''
  if (typeof drawn !== 'object') return String(drawn).replaceAll('<', '&lt;')
  const { type, props, children } = drawn as VNode
  if (typeof type !== 'string') return `{${props!.language}: ${props!.text}}`
  const href = props?.href ? ` ${props.href}` : ''
  return `<${type}${href}>${html(children as VNodeChild)}</${type}>`
}
const drawn = (text: string) => html(drawText(text))

describe('a message’s markup', () => {
  it.each([
    ['**bold** _i_ ~~s~~ `c*d*`', '<p><strong>bold</strong> <em>i</em> <del>s</del> <code>c*d*</code></p>'],
    ['one\ntwo  \nthree\\\nfour', '<p>one\ntwo\nthree\nfour</p>'],
    ['one\n\n\n\ntwo', '<p>one</p><p>two</p>'],
    ['- a\n- b\n  1. c', '<ul><li>a</li><li>b<ol><li>c</li></ol></li></ul>'],
    ['> quoted\n\nanswer', '<blockquote><p>quoted</p></blockquote><p>answer</p>'],
    ['```rust\nfn main() {}\n```', '{rust: fn main() {}}'],
    ['[w](https://example.org/a?b=c) https://example.org', '<p><a https://example.org/a?b=c>w</a> <a https://example.org/>https://example.org</a></p>'],
    ['[m](mailto:a@b.c)', '<p><a mailto:a@b.c>m</a></p>'],
    ['\\*not\\* 1 &lt; 2 &amp; 3', '<p>*not* 1 &amp;lt; 2 &amp;amp; 3</p>'.replaceAll('&amp;', '&')],
  ])('draws %j', (text, expected) => expect(drawn(text)).toBe(expected))

  it.each([
    ['<img src=x onerror=alert(1)>'],
    ['<script>alert(1)</script>'],
    ['a <b>b</b> c'],
    ['<!-- a comment -->'],
    ['# a heading'],
    ['a heading\n==='],
    ['***'],
    ['    indented'],
    ['| a | b |\n|---|---|\n| 1 | 2 |'],
    ['[x]: /elsewhere'],
    ['[js](javascript:alert(1))'],
    ['[js](JaVaScRiPt:alert(1))'],
    ['[data](data:text/html;base64,PHNjcmlwdD4=)'],
    ['[relative](/api)'],
    ['[vb](vbscript:x)'],
    ['[file](file:///etc/passwd)'],
    ['![picture](https://example.org/a.png)'],
    ['<javascript:alert(1)>'],
  ])('leaves %j as it was typed', (text) => {
    expect(drawn(text)).toBe(`<p>${text.replaceAll('<', '&lt;')}</p>`)
  })

  // Each of them froze or broke one Markdown library or another.
  it.each([
    ['> '.repeat(4000)], ['1. '.repeat(2700)], ['- '.repeat(4000)], ['*_'.repeat(4000)], ['[a]('.repeat(2000)], ['['.repeat(8000)],
    ['**a '.repeat(2000)], ['`'.repeat(8000)], ['`a``b```c'.repeat(900)], ['~~a '.repeat(2000)], ['<a '.repeat(2700)], ['\\'.repeat(8000)],
    ['a\n'.repeat(4000)], ['\n'.repeat(8000)], [' '.repeat(8000)], ['http://'.repeat(1100)], ['a@'.repeat(4000)], ['***'.repeat(2600)],
    ['!['.repeat(4000)], ['&a'.repeat(4000)], ['```\n'.repeat(2000)], ['>\t'.repeat(4000)],
  ])('survives a message of death (%#)', (text) => {
    // That it comes back in time is the test's own limit.
    expect(drawn(text)).toBeTypeOf('string')
  })

  it('draws what is nested deeper than anyone reads as text', () => {
    const levels = drawn('> '.repeat(30) + 'deep').match(/<blockquote>/g)!.length
    expect(levels).toBeLessThanOrEqual(14)
    expect(drawn('> '.repeat(30) + 'deep')).toContain('deep')
  })
})
