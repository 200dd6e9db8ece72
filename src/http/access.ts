/** Who may do what: whoever comes may do nothing, read, or everything. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { ErrnoError } from '../lib/errno.ts'

export type Access = 'read' | 'admin'

/** The rule of one listening socket. */
export interface AccessRule {
  /** What the sender of a request may do; undefined: nothing. */
  accessOf(request: IncomingMessage): Access | undefined
  /** Who that is, by name; where nobody knows, what they make is the daemon's own. */
  userOf?(request: IncomingMessage): string | undefined
  /** How one would have to say who one is: the WWW-Authenticate of a 401. Without it the answer is 403. */
  readonly challenge?: string
}

/** The shortest token that nobody guesses: 128 bits in hex. */
const MIN_TOKEN = 32

/**
 * Access by `Authorization: Bearer TOKEN`.
 *
 * @param tokens one for each; without `read`, only admins get in
 * @throws EINVAL one is too short to keep anybody out
 */
export function accessByToken(tokens: {
  readonly admin: string
  readonly read?: string
}): AccessRule {
  const known = (['admin', 'read'] as const).flatMap((access) => {
    const token = tokens[access]
    if (token === undefined) return []
    if (token.length < MIN_TOKEN)
      throw new ErrnoError('EINVAL', `${access} token: shorter than ${MIN_TOKEN} characters`)
    return [{ access, digest: digest(token) }]
  })
  return {
    challenge: 'Bearer realm="mdevkit"',
    accessOf({ headers }) {
      const [, token] = /^Bearer +(\S+)$/i.exec(headers.authorization ?? '') ?? []
      if (token === undefined) return undefined
      const given = digest(token)
      return known.find((each) => timingSafeEqual(each.digest, given))?.access
    },
  }
}

/** Of equal length, whatever was sent. */
function digest(token: string): Buffer {
  return createHash('sha256').update(token).digest()
}
