/** Draws a message's text as elements, never as HTML. `lexer.ts` says what counts as markup. */
import { h, type VNodeChild } from 'vue'
import CodeBlock from '../components/CodeBlock.vue'
import { pieces, within, type Piece } from './lexer.ts'

/** Deeper than this, nested quotes and lists are text: nobody reads them, and each level costs the page. */
const MAX_DEPTH = 12
const SAFE_SCHEMES = new Set(['http:', 'https:', 'mailto:'])
const REL = 'noopener noreferrer nofollow'

export function drawText(text: string): VNodeChild[] {
  return drawAll(pieces(text), 0)
}

function drawAll(list: Piece[], depth: number): VNodeChild[] {
  return list.map((piece) => (depth > MAX_DEPTH ? piece.raw : draw(piece, depth)))
}

function draw(piece: Piece, depth: number): VNodeChild {
  const inner = (of: Parameters<typeof within>[0] = piece as object) => drawAll(within(of), depth + 1)
  switch (piece.type) {
    case 'space':
      return undefined
    case 'paragraph':
      return h('p', inner())
    case 'blockquote':
      return h('blockquote', inner())
    case 'list': {
      const items = piece.items.map((item) => h('li', inner(item)))
      return piece.ordered ? h('ol', { start: piece.start || 1 }, items) : h('ul', items)
    }
    case 'code':
      return h(CodeBlock, { text: piece.text, language: piece.lang ?? '' })
    case 'text':
      return piece.tokens ? inner() : piece.text
    case 'strong':
    case 'em':
    case 'del':
      return h(piece.type, inner())
    case 'codespan':
      return h('code', piece.text)
    case 'escape':
      return piece.text
    case 'br':
      return '\n'
    case 'link':
      return link(piece, inner())
    default:
      return piece.raw
  }
}

/** A link's title says where it leads, since its words may say something else. */
function link(piece: Extract<Piece, { type: 'link' }>, words: VNodeChild[]): VNodeChild {
  const url = URL.canParse(piece.href) ? new URL(piece.href) : undefined
  if (!url || !SAFE_SCHEMES.has(url.protocol)) return piece.raw
  return h('a', { href: url.href, title: url.href, target: '_blank', rel: REL }, words)
}
