/** Datagrams to a UNIX socket, as systemd takes notifications: Node has no such socket. */
import * as socket from '../abi/socket.ts'
import { ErrnoError } from '../lib/errno.ts'
import { closeFd } from './fd.ts'
import { addressOf, cFunction, check } from './ffi.ts'

const cSocket = cFunction('socket', 'int', ['int', 'int', 'int'])
const cSendto = cFunction('sendto', 'size', ['int', 'ptr', 'size', 'int', 'ptr', 'u32'])

/** <bits/socket_type.h> */
const SOCK_DGRAM = 2

/**
 * Sends one datagram. Never blocks.
 *
 * @param path of the socket's file, or `@NAME` for one outside of the file system
 * @throws ENOENT, ECONNREFUSED, EACCES nobody takes it · EAGAIN its queue is full · EINVAL, ENAMETOOLONG no such address
 */
export function sendDatagram(path: string, text: string): void {
  const address = addressFor(path)
  const bytes = Buffer.from(text)
  const type = SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
  const fd = check(cSocket(socket.AF_UNIX, type, 0), 'socket')
  try {
    check(
      cSendto(
        fd,
        addressOf(bytes),
        bytes.byteLength,
        socket.MSG_NOSIGNAL,
        addressOf(address),
        address.byteLength,
      ),
      `sendto ${path}`,
    )
  } finally {
    closeFd(fd)
  }
}

/** No NUL at its end: a name outside of the file system would have it too. */
function addressFor(path: string): Uint8Array {
  if (!/^[@/][^\0]+$/.test(path))
    throw new ErrnoError('EINVAL', `socket ${JSON.stringify(path)}: neither a path nor @NAME`)
  const name = Buffer.from(path.startsWith('@') ? `\0${path.slice(1)}` : path)
  if (name.byteLength >= socket.UNIX_PATH_MAX)
    throw new ErrnoError('ENAMETOOLONG', `socket path of ${name.byteLength} bytes: ${path}`)
  return Buffer.concat([socket.SockaddrUn.encode({ sun_family: socket.AF_UNIX }), name])
}
