/** What goes out of a connection, in order: replies, built in a buffer that all connections share, and what has to wait. */
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError } from '../lib/errno.ts'
import { closeFd } from '../os/fd.ts'
import { type Outbox, sendBytes } from '../os/message.ts'
import { Backlog } from './backlog.ts'
import type { Message } from './frame.ts'

const HEADER = wire.VfioUserHeader.size

export class ReplyQueue {
  /** The buffer that the reply at hand is built in. */
  readonly view: DataView
  readonly bytes: Uint8Array
  /** Where its payload starts in that. */
  at = HEADER
  readonly #fd: number
  readonly #outbox: Outbox
  readonly #onBlocked: () => void
  readonly #header = wire.VfioUserHeader.view()
  /** Bytes of finished replies in the outbox, not sent yet. */
  #queued = 0
  /** The reply at hand where it is too large for the outbox, header included. */
  #large: Uint8Array | undefined
  /** Sent with the reply at hand. */
  #fds = NO_FDS
  /** One of them that is closed here. */
  #ownFd: number | undefined
  /** What the socket did not take. */
  readonly #backlog = new Backlog()

  /**
   * @param fd        stays the caller's
   * @param outbox    shared; used only within one turn
   * @param onBlocked called when the socket has not taken all: {@link resume} when it is writable
   */
  constructor(fd: number, outbox: Outbox, onBlocked: () => void) {
    this.#fd = fd
    this.#outbox = outbox
    this.#onBlocked = onBlocked
    this.view = outbox.view
    this.bytes = outbox.bytes
  }

  /** Whether something waits for the socket to take it. */
  get isBlocked(): boolean {
    return !this.#backlog.isEmpty
  }

  /** Fds for the reply at hand; they stay the caller's, who keeps them open until the client has gone. */
  attachFds(fds: readonly number[]): void {
    this.flush() // they go with the first byte of a send
    this.#fds = fds
  }

  /** An fd for the reply at hand, owned from here on: closed when it has been sent, or will not be. */
  giveFd(fd: number): void {
    this.#ownFd = fd
    this.attachFds([fd])
  }

  /** Makes room for `size` bytes of payload; `at` may move. */
  reserve(size: number): void {
    if (this.at + size > this.bytes.length) this.flush()
  }

  /** All of the payload of the reply at hand, zeroed, to be filled in: `size` bytes, however many. */
  room(size: number): Uint8Array {
    if (HEADER + size > this.bytes.length) {
      this.#large = new Uint8Array(HEADER + size)
      return this.#large.subarray(HEADER)
    }
    this.reserve(size)
    return this.bytes.subarray(this.at, this.at + size).fill(0)
  }

  /** There will be no reply to the request at hand. */
  forget(): void {
    this.#fds = NO_FDS
    this.#large = undefined
    this.#closeOwnFd()
  }

  /**
   * The reply at hand is built.
   *
   * @param payload its bytes, or the negative errno of a refusal
   * @throws EPIPE, ECONNRESET
   */
  finish(request: Message, payload: number): void {
    const failed = payload < 0
    const large = this.#large
    if (large !== undefined) {
      this.#large = undefined
      if (!failed) {
        this.#sendLarge(request, large)
        return
      }
    }
    const size = HEADER + (failed ? 0 : payload)
    if (this.at - HEADER + size > this.bytes.length) this.flush()
    const header = this.#header.aim(this.view, this.at - HEADER)
    header.msg_id = request.id
    header.command = request.command
    header.size = size
    header.flags = wire.VFIO_USER_F_TYPE_REPLY | (failed ? wire.VFIO_USER_F_ERROR : 0)
    header.error = failed ? -payload : 0
    this.#queued += size
    this.at = this.#queued + HEADER
    if (this.#fds !== NO_FDS) this.#sendWithFds(failed)
  }

  /** Sends the replies in the outbox; what the socket does not take waits. @throws EPIPE, ECONNRESET */
  flush(): void {
    const length = this.#queued
    if (length === 0) return
    this.#queued = 0
    this.at = HEADER
    const fds = this.#fds
    if (this.isBlocked) {
      this.#backlog.add(this.bytes.slice(0, length), fds)
      return
    }
    const sent = Math.max(0, this.#outbox.send(this.#fd, length, fds))
    if (sent === length) return
    this.#keep(this.bytes.slice(sent, length), sent === 0 ? fds : NO_FDS)
  }

  /** Sends a message that is complete, behind what was flushed. @throws EPIPE, ECONNRESET */
  send(message: Uint8Array): void {
    const sent = this.isBlocked ? 0 : Math.max(0, sendBytes(this.#fd, message))
    if (sent < message.length) this.#keep(message.subarray(sent))
  }

  /** Has a message wait for {@link resume}. */
  add(message: Uint8Array): void {
    this.#backlog.add(message)
  }

  /** Sends what waited. @returns whether that was all @throws EPIPE, ECONNRESET */
  resume(): boolean {
    return this.#backlog.send(this.#fd)
  }

  /** @throws EPIPE, ECONNRESET the client has gone, or reads no more */
  checkPeer(): void {
    this.#outbox.send(this.#fd, 0) // sends nothing, and fails like any other send
  }

  /** Nothing of it will be sent. */
  clear(): void {
    this.#queued = 0
    this.forget()
    this.#backlog.clear()
  }

  #sendLarge({ id, command }: Message, reply: Uint8Array): void {
    const flags = wire.VFIO_USER_F_TYPE_REPLY
    reply.set(wire.VfioUserHeader.encode({ msg_id: id, command, size: reply.length, flags }))
    this.flush()
    this.send(reply)
  }

  #sendWithFds(failed: boolean): void {
    if (failed) this.#fds = NO_FDS
    this.flush() // at once: the next reply must not go with these fds
    this.#fds = NO_FDS
    if (this.#ownFd === undefined) return
    this.#closeOwnFd()
    if (this.isBlocked) throw new ErrnoError('EAGAIN', 'reply: its fd cannot wait')
  }

  #closeOwnFd(): void {
    if (this.#ownFd !== undefined) closeFd(this.#ownFd)
    this.#ownFd = undefined
  }

  #keep(bytes: Uint8Array, fds: readonly number[] = NO_FDS): void {
    this.#backlog.add(bytes, fds)
    this.#onBlocked()
  }
}

const NO_FDS: readonly number[] = []
