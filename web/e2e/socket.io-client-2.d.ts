/** The little of the old client that the stories use; it came without types. */
declare module 'socket.io-client-2' {
  import type { Socket } from 'socket.io-client'
  export default function io(url: string, options: { transports?: string[]; forceNew?: boolean }): Socket
}
