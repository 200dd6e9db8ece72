/**
 * Messages through stream sockets, with fds: one shared buffer in, one shared buffer out.
 *
 * Nothing here allocates per message that carries no fd. One recvmsg never returns bytes past the message that its fds
 * came with, so received fds belong to the last message that starts in the bytes returned.
 */
import { constants } from 'node:os'
import { dataViewOf } from '../lib/struct.ts'
import * as socket from '../abi/socket.ts'
import { addressOf, cFunction, lastErrno, systemError } from './ffi.ts'

const recvmsg = cFunction('recvmsg', 'size', ['int', 'ptr', 'int'])
const sendmsg = cFunction('sendmsg', 'size', ['int', 'ptr', 'int'])
const recv = cFunction('recv', 'size', ['int', 'ptr', 'size', 'int'])
const send = cFunction('send', 'size', ['int', 'ptr', 'size', 'int'])

const { EAGAIN, EINTR } = constants.errno

/** What {@link Inbox.receive} and {@link Outbox.send} return when the call would block. */
export const WOULD_BLOCK = -1

/** What a call that returned -1 comes to: WOULD_BLOCK, or an error. */
function failed(call: string, fd: number): number {
  const errno = lastErrno()
  if (errno === EAGAIN || errno === EINTR) return WOULD_BLOCK
  throw systemError(`${call} on fd ${fd}`)
}

/** Room for the fds of one message: SCM_RIGHTS takes one header and 4 bytes each. */
const CONTROL_SIZE = socket.Cmsghdr.size + 4 * (socket.SCM_MAX_FD + 1) + socket.Cmsghdr.size * 3

/** A msghdr with one iovec and a control buffer, all of it kept where the kernel was told. */
class MessageHeader {
  readonly control = new Uint8Array(CONTROL_SIZE)
  readonly controlView = dataViewOf(this.control)
  readonly cmsg = socket.Cmsghdr.view()
  readonly iov = socket.Iovec.view()
  readonly msg = socket.Msghdr.view()
  readonly address: number
  readonly #bytes = new Uint8Array(socket.Msghdr.size + socket.Iovec.size)

  constructor() {
    const view = dataViewOf(this.#bytes)
    this.msg.aim(view)
    this.iov.aim(view, socket.Msghdr.size)
    this.address = addressOf(this.#bytes)
    this.msg.msg_iov = this.address + socket.Msghdr.size
    this.msg.msg_iovlen = 1
    this.msg.msg_control = addressOf(this.control)
  }

  /** Sends the `length` bytes at `address`, `fds` with the first. @returns what sendmsg does */
  send(fd: number, address: number, length: number, fds: readonly number[]): number {
    const { msg, iov, cmsg, controlView } = this
    iov.iov_base = address
    iov.iov_len = length
    cmsg.aim(controlView, 0)
    cmsg.cmsg_len = socket.Cmsghdr.size + 4 * fds.length
    cmsg.cmsg_level = socket.SOL_SOCKET
    cmsg.cmsg_type = socket.SCM_RIGHTS
    for (const [i, each] of fds.entries()) {
      controlView.setInt32(socket.Cmsghdr.size + 4 * i, each, true)
    }
    msg.msg_controllen = cmsg.cmsg_len
    return sendmsg(fd, this.address, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
  }
}

/** A buffer that messages are received into, and the fds of the last receive. */
export class Inbox {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly view: DataView<ArrayBuffer>
  /** What came with the last receive; the receiver takes them out or closes them. */
  readonly fds: number[] = []
  /** The last receive lost fds (no room for them, or no fd number left): a fatal error for the connection. */
  truncated = false
  readonly #header = new MessageHeader()
  readonly #address: number

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity)
    this.view = new DataView(this.bytes.buffer)
    this.#address = addressOf(this.bytes)
  }

  /**
   * Receives what is there into `bytes`, from `start` on, at most `limit` bytes.
   *
   * @returns bytes received, 0 at the end of the stream, WOULD_BLOCK when nothing is there
   * @throws ECONNRESET and what else recvmsg may say
   */
  receive(fd: number, start: number, limit: number): number {
    const { msg, iov } = this.#header
    iov.iov_base = this.#address + start
    iov.iov_len = Math.min(limit, this.bytes.length - start)
    msg.msg_controllen = CONTROL_SIZE
    this.truncated = false
    const count = recvmsg(fd, this.#header.address, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC)
    if (count < 0) return failed('recvmsg', fd)
    this.truncated = (msg.msg_flags & socket.MSG_CTRUNC) !== 0
    if (msg.msg_controllen > 0) this.#collect(msg.msg_controllen)
    return count
  }

  #collect(length: number): void {
    const { cmsg, controlView } = this.#header
    for (let at = 0; at + socket.Cmsghdr.size <= length;) {
      cmsg.aim(controlView, at)
      const end = at + cmsg.cmsg_len
      if (cmsg.cmsg_len < socket.Cmsghdr.size) return
      if (cmsg.cmsg_level === socket.SOL_SOCKET && cmsg.cmsg_type === socket.SCM_RIGHTS) {
        for (let fd = at + socket.Cmsghdr.size; fd + 4 <= end; fd += 4) {
          this.fds.push(controlView.getInt32(fd, true))
        }
      }
      at = Math.ceil(end / 8) * 8
    }
  }
}

/** A buffer that messages are built in and sent from. */
export class Outbox {
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly view: DataView<ArrayBuffer>
  readonly #header = new MessageHeader()
  readonly #address: number

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity)
    this.view = new DataView(this.bytes.buffer)
    this.#address = addressOf(this.bytes)
  }

  /**
   * Sends the first `length` bytes, as much as the socket takes.
   *
   * @param fds sent with the first byte; they stay the caller's
   * @returns bytes sent, WOULD_BLOCK when the socket takes none
   * @throws EPIPE, ECONNRESET
   */
  send(fd: number, length: number, fds?: readonly number[]): number {
    const count =
      fds === undefined || fds.length === 0
        ? send(fd, this.#address, length, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        : this.#header.send(fd, this.#address, length, fds)
    return count >= 0 ? count : failed('send', fd)
  }
}

/**
 * Receives into `target`, wherever it is: for the rest of a message too large for the inbox. Fds that come with it are
 * closed by the kernel, because there is no room for them.
 *
 * @returns bytes received, 0 at the end of the stream, WOULD_BLOCK when nothing is there
 */
export function receiveInto(fd: number, target: Uint8Array): number {
  const count = recv(fd, addressOf(target), target.byteLength, socket.MSG_DONTWAIT)
  return count >= 0 ? count : failed('recv', fd)
}

/**
 * Sends `bytes`, wherever they are: the slow way, for what did not fit into the socket at once.
 *
 * @param fds sent with the first byte; they stay the caller's
 */
export function sendBytes(fd: number, bytes: Uint8Array, fds: readonly number[] = []): number {
  const address = addressOf(bytes)
  const count =
    fds.length === 0
      ? send(fd, address, bytes.byteLength, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
      : slowHeader.send(fd, address, bytes.byteLength, fds)
  return count >= 0 ? count : failed('send', fd)
}

/** Of {@link sendBytes}. */
const slowHeader = new MessageHeader()
