/** Who is spoken to: what is typed after an @, whom it may mean, and whom a whole text names. */
import type { Member } from './protocol/frames.ts'

/** The most that one message may speak to, and the most that are offered. */
const MOST = 50
const OFFERED = 8

/** What stands before the caret, from the @ on. */
export interface Asked {
  /** Where the @ is. */
  at: number
  name: string
}

/** What is asked for where the caret is, if anything. An @ within a word is an address, and asks for nobody. */
export function askedAt(text: string, caret: number): Asked | undefined {
  const found = /(?:^|[\s(])@([\p{L}\p{N}_.'-]{0,40})$/u.exec(text.slice(0, caret))
  return found ? { at: caret - found[1]!.length - 1, name: found[1]! } : undefined
}

/** Those with a word of their name that begins so, without `me`. */
export function offered(members: readonly Member[], name: string, me: string): Member[] {
  const begin = name.toLocaleLowerCase()
  const fits = (member: Member) => [member.name, ...member.name.split(/\s+/)].some((word) => word.toLocaleLowerCase().startsWith(begin))
  return members.filter((member) => member.id !== me && fits(member)).slice(0, OFFERED)
}

/** By id, whom the text names as `@name`. Of several with one name it is who was chosen, else none. */
export function mentioned(text: string, members: readonly Member[], chosen: ReadonlySet<string>): string[] {
  const named = members.filter((member) => member.name && names(text, member.name))
  const alone = (member: Member) => named.every((other) => other === member || other.name !== member.name)
  return named
    .filter((member) => chosen.has(member.id) || alone(member))
    .map(({ id }) => id)
    .slice(0, MOST)
}

function names(text: string, name: string): boolean {
  for (let at = text.indexOf(`@${name}`); at >= 0; at = text.indexOf(`@${name}`, at + 1)) {
    const [before, after] = [text.slice(0, at), text.slice(at + name.length + 1)]
    if (/(^|[\s(])$/u.test(before) && !/^[\p{L}\p{N}_]/u.test(after)) return true
  }
  return false
}
