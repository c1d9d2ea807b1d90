/** Brings a file to a room. `XMLHttpRequest`, since `fetch` does not tell how much has gone. */
import { readAttachment, type Attachment } from '../protocol/frames.ts'
import { UNREACHABLE } from '../reasons.ts'
import { bearer, filesOf } from './fileRequests.ts'

/** Why a file was not taken. */
export interface Refusal {
  reason: string
  /** It may be taken if it is brought once more. */
  canRetry: boolean
}

/**
 * What the server makes of the file, or why it does not take it. `progress` hears how much has gone, from 0 to 1. Nothing:
 * it ended because `signal` said so.
 */
export function upload(room: string, file: File, signal: AbortSignal, progress: (part: number) => void): Promise<Attachment | Refusal | undefined> {
  return new Promise((done) => {
    const request = new XMLHttpRequest()
    request.open('POST', `${filesOf(room)}?name=${encodeURIComponent(file.name)}`)
    request.setRequestHeader('authorization', bearer())
    request.setRequestHeader('content-type', 'application/octet-stream')
    request.responseType = 'json'
    request.upload.onprogress = ({ loaded, total }) => progress(total ? loaded / total : 0)
    request.onload = () => done(answer(request.status, request.response))
    request.onerror = () => done({ reason: UNREACHABLE, canRetry: true })
    request.onabort = () => done(undefined)
    signal.addEventListener('abort', () => request.abort())
    request.send(file)
  })
}

/** What an answer says. One that is not our door's is as none. */
function answer(status: number, body: any): Attachment | Refusal {
  if (status === 200 && body?.id) return readAttachment(body)
  const error = body?.error
  return error ? { reason: error.message ?? '', canRetry: error.retryable ?? false } : { reason: UNREACHABLE, canRetry: true }
}
