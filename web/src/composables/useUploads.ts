/**
 * The files that are to go with what I write, on their way to the server: one after the other, since a gateway takes few
 * at once from one address, behind which others may be too.
 */
import { computed, onScopeDispose, reactive, ref } from 'vue'
import type { Attachment } from '../protocol/frames.ts'
import { t } from '../words/index.ts'
import { size } from '../words/sizes.ts'
import { upload } from './upload.ts'

/** The most files of one message. */
const MOST = 10

export interface Upload {
  readonly key: number
  readonly file: File
  state: 'waiting' | 'going' | 'kept' | 'refused'
  /** How much has gone, in percent. */
  percent: number
  reason: string
  /** Whether `reason` is the page's and not the server's. */
  inOurWords: boolean
  canRetry: boolean
  /** What the server made of it, once it is kept. */
  attachment: Attachment | undefined
}

/** `mostBytes` is the largest file that is taken. */
export function useUploads(room: string, mostBytes: () => number) {
  const uploads = ref<Upload[]>([])
  const going = new Map<number, AbortController>()
  let lastKey = 0

  function add(files: readonly File[]) {
    for (const file of files) {
      const refusal = refuse(file)
      const state = refusal ? 'refused' : 'waiting'
      uploads.value.push(reactive({ key: ++lastKey, file, state, percent: 0, reason: refusal, inOurWords: true, canRetry: false, attachment: undefined }))
    }
    void run()
  }

  /** Why it need not even be tried. Empty: it may be taken. */
  function refuse(file: File): string {
    if (file.size > mostBytes()) return t('fileTooLarge', size(mostBytes()))
    return uploads.value.length < MOST ? '' : t('tooManyFiles', MOST)
  }

  async function run() {
    for (let next = waiting(); next && !going.size; next = waiting()) {
      const one = next
      const cancel = new AbortController()
      going.set(one.key, cancel)
      Object.assign(one, { state: 'going', percent: 0 })
      const kept = await upload(room, one.file, cancel.signal, (part) => (one.percent = Math.round(part * 100)))
      going.delete(one.key)
      if (kept && 'id' in kept) Object.assign(one, { state: 'kept', attachment: kept })
      else if (kept) Object.assign(one, { state: 'refused', inOurWords: false, ...kept })
    }
  }

  const waiting = () => uploads.value.find(({ state }) => state === 'waiting')

  onScopeDispose(() => {
    uploads.value = []
    for (const cancel of going.values()) cancel.abort()
  })

  return {
    uploads,
    /** All that is to go along. Undefined: something is on its way, or was refused. */
    kept: computed(() => {
      const kept = uploads.value.flatMap(({ attachment }) => attachment ?? [])
      return kept.length === uploads.value.length ? kept : undefined
    }),
    add,
    retry(one: Upload) {
      one.state = 'waiting'
      void run()
    },
    remove(one: Upload) {
      uploads.value = uploads.value.filter(({ key }) => key !== one.key)
      going.get(one.key)?.abort()
    },
  }
}
