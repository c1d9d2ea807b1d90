/**
 * Reads the markup of a message: bold, italic, struck, code, lists, quotes, links, as in Markdown. All else (HTML,
 * images, headings, tables) is text as it was typed.
 */
import { Lexer, Tokenizer, type MarkedToken, type Token } from 'marked'

/** Leaves to plain text what has no place in a message. */
class MessageTokenizer extends Tokenizer {
  override code = nothing
  override heading = nothing
  override lheading = nothing
  override hr = nothing
  override html = nothing
  override def = nothing
  override table = nothing
  override tag = nothing
  override reflink = nothing
}

function nothing(): undefined {}

/** A token of those that a message may have. */
export type Piece = MarkedToken

export function pieces(text: string): Piece[] {
  try {
    return new Lexer({ gfm: true, tokenizer: new MessageTokenizer() }).lex(text) as Piece[]
  } catch {
    // Quotes in quotes in quotes … exhaust the lexer's stack.
    return [{ type: 'text', raw: text, text } as Piece]
  }
}

/** The pieces within a piece, if any. */
export function within(piece: { tokens?: Token[] | undefined }): Piece[] {
  return (piece.tokens ?? []) as Piece[]
}
