/** Who may do what on a UNIX socket: the kernel says who is at the other end. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Access, AccessRule } from '../http/access.ts'
import { peerCredentials } from '../os/unix-socket.ts'

/** What the kernel says where there is no user, as on a TCP connection. */
const NOBODY_KNOWN = 0xffff_ffff

/** By number. */
export interface Users {
  readonly admin: readonly number[]
  readonly read: 'everyone' | readonly number[]
}

export function accessByPeer({ admin, read }: Users): AccessRule {
  const admins = new Set(admin)
  const readers = read === 'everyone' ? undefined : new Set(read)
  return {
    accessOf(request: IncomingMessage): Access | undefined {
      const fd = fdOf(request.socket)
      const uid = fd < 0 ? NOBODY_KNOWN : peerCredentials(fd).uid
      if (uid === NOBODY_KNOWN) return undefined
      if (admins.has(uid)) return 'admin'
      return readers === undefined || readers.has(uid) ? 'read' : undefined
    },
  }
}

/** Negative once it is closed. Node has it, and no public name for it. */
function fdOf(socket: Socket): number {
  const handle = Reflect.get(socket, '_handle') as { readonly fd?: number } | null | undefined
  return handle?.fd ?? -1
}
