/** Who may do what on a UNIX socket: the kernel says who is at the other end. */
import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Access, AccessRule } from '../http/access.ts'
import { peerCredentials } from '../os/unix-socket.ts'
import { userName } from '../os/user-name.ts'

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
      const uid = uidOf(request)
      if (uid === undefined) return undefined
      if (admins.has(uid)) return 'admin'
      return readers === undefined || readers.has(uid) ? 'read' : undefined
    },
    userOf(request) {
      const uid = uidOf(request)
      return uid === undefined ? undefined : userName(uid)
    },
  }
}

/** Undefined where there is no user, or nobody any more. */
function uidOf({ socket }: IncomingMessage): number | undefined {
  const fd = fdOf(socket)
  const uid = fd < 0 ? NOBODY_KNOWN : peerCredentials(fd).uid
  return uid === NOBODY_KNOWN ? undefined : uid
}

/** Negative once it is closed. Node has it, and no public name for it. */
function fdOf(socket: Socket): number {
  const handle = Reflect.get(socket, '_handle') as { readonly fd?: number } | null | undefined
  return handle?.fd ?? -1
}
