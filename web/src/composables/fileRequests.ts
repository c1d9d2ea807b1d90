/** Files of a room over HTTP, by the session's token, which stands in a header and never in an address. */
import { token } from './browserEnv.ts'

export const filesOf = (room: string) => `/v1/rooms/${encodeURIComponent(room)}/attachments`

export const bearer = () => `Bearer ${token.get()}`

/** A file as it was brought. Rejects if it cannot be had, and when `signal` says so. */
export async function fetchFile(room: string, id: string, signal?: AbortSignal): Promise<Blob> {
  const answer = await fetch(`${filesOf(room)}/${encodeURIComponent(id)}`, {
    headers: { authorization: bearer() },
    credentials: 'omit',
    signal: signal ?? null,
  })
  if (!answer.ok) throw new Error(`${answer.status}`)
  return answer.blob()
}
