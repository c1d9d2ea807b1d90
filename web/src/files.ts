/** What the page knows of files without asking: of which kind they are, and how large a picture is drawn. */
import type { Attachment, Message } from './protocol/frames.ts'

/** The largest box of a picture within the conversation, in CSS pixels. */
const WIDEST = 384
const HIGHEST = 320
/** What is left to see, and to press, of a picture like a line. */
const LEAST = 40

export type Kind = 'Picture' | 'Sound' | 'Video' | 'Text' | 'Pdf' | 'Archive' | 'Other'

export function kindOf(type: string): Kind {
  if (type.startsWith('image/')) return 'Picture'
  if (type.startsWith('audio/')) return 'Sound'
  if (type.startsWith('video/')) return 'Video'
  if (type.startsWith('text/')) return 'Text'
  if (type === 'application/pdf') return 'Pdf'
  return /zip|tar|rar|7z|zstd|compressed|bzip/.test(type) ? 'Archive' : 'Other'
}

/** A message in one line: its text, or the names of its files if there is none. */
export const inOneLine = ({ text, attachments }: Message) => text || attachments.map(({ name }) => name).join(', ')

/** Whether it is drawn within the conversation: the kinds that the server knows as pictures, with their size. */
export function isDrawn({ type, width, height }: Attachment): boolean {
  return /^image\/(png|jpeg|gif|webp)$/.test(type) && width > 0 && height > 0
}

/** How large a picture is drawn, in CSS pixels: its own shape, and never larger than it is, unless there were nothing to see. */
export function drawnSize({ width, height }: Pick<Attachment, 'width' | 'height'>): { width: number; height: number } {
  const scale = Math.min(1, WIDEST / width, HIGHEST / height)
  const side = (length: number) => Math.max(LEAST, Math.round(length * scale))
  return { width: side(width), height: side(height) }
}
