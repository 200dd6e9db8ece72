/** UNIX stream sockets: making, listening, connecting, and who is at the other end. */
import { chmodSync, unlinkSync } from 'node:fs'
import { ErrnoError } from '../lib/errno.ts'
import * as socket from '../abi/socket.ts'
import { addressOf, cFunction, check, lastErrno, systemError } from './ffi.ts'
import { constants } from 'node:os'
import { closeFd } from './fd.ts'

const cSocket = cFunction('socket', 'int', ['int', 'int', 'int'])
const cBind = cFunction('bind', 'int', ['int', 'ptr', 'u32'])
const cListen = cFunction('listen', 'int', ['int', 'int'])
const cAccept4 = cFunction('accept4', 'int', ['int', 'ptr', 'ptr', 'int'])
const cConnect = cFunction('connect', 'int', ['int', 'ptr', 'u32'])
const cSocketpair = cFunction('socketpair', 'int', ['int', 'int', 'int', 'ptr'])
const cGetsockopt = cFunction('getsockopt', 'int', ['int', 'int', 'int', 'ptr', 'ptr'])
const cSetsockopt = cFunction('setsockopt', 'int', ['int', 'int', 'int', 'ptr', 'u32'])

const { EAGAIN, ECONNABORTED, EMFILE } = constants.errno

/** Longest path of a UNIX socket, in bytes. */
export const MAX_SOCKET_PATH = socket.UNIX_PATH_MAX - 1

const TYPE = socket.SOCK_STREAM | socket.SOCK_CLOEXEC

/** @throws ENAMETOOLONG when `path` does not fit into a socket's address · EINVAL it is empty or has a NUL inside */
export function checkSocketPath(path: string): void {
  // Linux would take the first for a name outside of the file system, and the second for what is before the NUL.
  if (path === '' || path.includes('\0'))
    throw new ErrnoError('EINVAL', `socket path ${JSON.stringify(path)}: no file name`)
  const length = Buffer.byteLength(path)
  if (length > MAX_SOCKET_PATH) {
    throw new ErrnoError(
      'ENAMETOOLONG',
      `socket path of ${length} bytes, ${MAX_SOCKET_PATH} is the most: ${path}`,
    )
  }
}

function unixAddress(path: string): Uint8Array {
  checkSocketPath(path)
  const address = new Uint8Array(socket.SockaddrUn.size + socket.UNIX_PATH_MAX)
  address.set(socket.SockaddrUn.encode({ sun_family: socket.AF_UNIX }))
  address.set(Buffer.from(path), socket.SockaddrUn.size)
  return address
}

/**
 * Listens at `path`, for connections to be accepted without blocking.
 *
 * @param mode of the socket file
 * @returns the listening fd, owned by the caller, who also unlinks the path
 * @throws EADDRINUSE, EINVAL, ENAMETOOLONG, EACCES, ENOENT
 */
export function listenUnix(path: string, mode: number): number {
  const address = unixAddress(path)
  const fd = check(cSocket(socket.AF_UNIX, TYPE | socket.SOCK_NONBLOCK, 0), 'socket')
  try {
    check(cBind(fd, addressOf(address), address.byteLength), `bind ${path}`)
    try {
      chmodSync(path, mode) // before listen: nobody connects with the mode that umask left
      check(cListen(fd, 128), `listen ${path}`)
    } catch (error) {
      unlinkSync(path)
      throw error
    }
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/** Accepts one connection. @returns its non-blocking fd, or undefined when nobody waits */
export function acceptUnix(listener: number): number | undefined {
  const fd = cAccept4(listener, 0, 0, socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
  if (fd >= 0) return fd
  const errno = lastErrno()
  if (errno === EAGAIN || errno === ECONNABORTED) return undefined
  // Node has raised the soft limit to the hard one when it started.
  const advice = errno === EMFILE ? ': no fd number is left; raise the hard limit (ulimit -Hn)' : ''
  throw systemError(`accept on fd ${listener}${advice}`)
}

/** Connects to `path`. @returns a non-blocking fd @throws ENOENT, ECONNREFUSED, EACCES, EAGAIN (backlog full) */
export function connectUnix(path: string): number {
  const address = unixAddress(path)
  const fd = check(cSocket(socket.AF_UNIX, TYPE | socket.SOCK_NONBLOCK, 0), 'socket')
  if (cConnect(fd, addressOf(address), address.byteLength) < 0) {
    const error = systemError(`connect ${path}`)
    closeFd(fd)
    throw error
  }
  return fd
}

/**
 * Whether somebody listens at `path`; a socket file of a dead process refuses.
 *
 * @throws what keeps us from knowing, such as EACCES and ENAMETOOLONG
 */
export function isAnswered(path: string): boolean {
  try {
    closeFd(connectUnix(path))
    return true
  } catch (error) {
    switch (error instanceof ErrnoError ? error.code : undefined) {
      case 'ENOENT':
      case 'ECONNREFUSED':
        return false
      case 'EAGAIN': // a full backlog is somebody's
      case 'EPROTOTYPE': // and so is a socket of another type
        return true
      default:
        throw error
    }
  }
}

/** Two connected non-blocking sockets. */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2)
  check(cSocketpair(socket.AF_UNIX, TYPE | socket.SOCK_NONBLOCK, 0, addressOf(pair)), 'socketpair')
  return [pair[0] ?? -1, pair[1] ?? -1]
}

/** Who made the connection, as the kernel vouches for it. */
export interface PeerCredentials {
  readonly pid: number
  readonly uid: number
  readonly gid: number
}

export function peerCredentials(fd: number): PeerCredentials {
  const bytes = socket.Ucred.encode({})
  const length = Uint32Array.of(bytes.byteLength)
  check(
    cGetsockopt(fd, socket.SOL_SOCKET, socket.SO_PEERCRED, addressOf(bytes), addressOf(length)),
    `getsockopt SO_PEERCRED of fd ${fd}`,
  )
  const { pid, uid, gid } = socket.Ucred.view().aim(new DataView(bytes.buffer))
  return { pid, uid, gid }
}

/** Asks for a send buffer of `size` bytes; the kernel may give less. */
export function setSendBuffer(fd: number, size: number): void {
  const value = Int32Array.of(size)
  cSetsockopt(fd, socket.SOL_SOCKET, socket.SO_SNDBUF, addressOf(value), 4)
}
