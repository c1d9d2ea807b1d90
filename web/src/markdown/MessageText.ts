/** A message's text, drawn. */
import { h } from 'vue'
import { drawText } from './draw.ts'

export default function MessageText({ text }: { text: string }) {
  return h('div', { class: 'message__text' }, drawText(text))
}
MessageText.props = ['text']
