/** Rooms by name. A name is checked here as the server does, so that a wrong one is told before it is asked for. */

/** A room in the reader's list. */
export interface RoomEntry {
  room: string
  /** 100: that many or more. */
  unread: number
  mentions: number
}

const NAME = /^[a-z0-9._-]{1,64}$/

export function isRoomName(name: string): boolean {
  return NAME.test(name)
}

/** Those that contain what was typed, the ones that begin with it first; and what was typed itself, if it is a name. */
export function found(rooms: readonly string[], typed: string): string[] {
  const wanted = typed.trim().toLowerCase()
  const matching = rooms.filter((room) => room.includes(wanted))
  const sorted = [...matching.filter((room) => room.startsWith(wanted)), ...matching.filter((room) => !room.startsWith(wanted))]
  return sorted.includes(wanted) || !isRoomName(wanted) ? sorted : [...sorted, wanted]
}
