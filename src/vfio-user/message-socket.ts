/** A socket with messages both ways, and framing and sending of its own: a client's, or a twin at either end. */
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError } from '../lib/errno.ts'
import { closeFd } from '../os/fd.ts'
import { type Inbox, Outbox, sendBytes } from '../os/message.ts'
import { EPOLLIN, EPOLLOUT, type Reactor, type Watch } from '../os/reactor.ts'
import { Backlog } from './backlog.ts'
import { encodeMessage, FrameReader, type Header, type Message } from './frame.ts'

/** Messages up to this are built in a buffer that is there already. */
const SMALL = 16 * 1024
/** A peer that reads so little that more waits than so many bytes, or messages, is not read either. */
const MAX_BACKLOG_SIZE = 4 * 2 ** 20
const MAX_BACKLOG_COUNT = 4096

export interface MessageSocketOptions {
  /** Connected; owned by the socket, also when making it throws. */
  readonly fd: number
  readonly reactor: Reactor
  /** May be shared by all sockets of a thread. */
  readonly inbox: Inbox
  /** Most bytes of a message that is received, header included. */
  readonly maxSize: number
  /** Takes a message. What it throws ends the socket. */
  readonly onMessage: (message: Message) => void
  /** Nothing more will come, because of `error`, or because the peer has closed its end. Closing is the owner's. */
  readonly onEnd: (error: unknown) => void
}

export class MessageSocket {
  readonly #options: MessageSocketOptions
  readonly #reader: FrameReader
  readonly #outbox = new Outbox(SMALL)
  readonly #header = wire.VfioUserHeader.view()
  readonly #backlog = new Backlog()
  readonly #watch: Watch
  #closed = false

  /** @throws ENOSPC, ENOMEM from epoll_ctl */
  constructor(options: MessageSocketOptions) {
    this.#options = options
    this.#reader = new FrameReader(options.inbox, options.maxSize, (message) => {
      options.onMessage(message)
      return !this.#isFull
    })
    try {
      this.#watch = options.reactor.watch(options.fd, EPOLLIN, () => this.#onReady())
    } catch (error) {
      closeFd(options.fd)
      throw error
    }
  }

  /** Takes messages of so many bytes from now on. */
  expect(size: number): void {
    this.#reader.maxSize = Math.max(this.#reader.maxSize, size)
  }

  /**
   * Sends a message, or keeps it until the socket takes it.
   *
   * @param fds stay the caller's
   * @throws EAGAIN the peer does not read, and fds cannot wait: they may be closed meanwhile · EPIPE, ECONNRESET
   */
  send(header: Header, payload: Uint8Array, fds: readonly number[] = NO_FDS): void {
    if (this.isBlocked) {
      if (fds.length > 0) throw doesNotRead()
      this.#backlog.add(encodeMessage(header, payload))
      return
    }
    const size = wire.VfioUserHeader.size + payload.length
    if (size <= SMALL) this.#sendSmall(size, header, payload, fds)
    else this.#sendLarge(encodeMessage(header, payload), fds)
  }

  /** Whether something waits for the socket to take it. */
  get isBlocked(): boolean {
    return !this.#backlog.isEmpty
  }

  /** Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#watch.close()
    this.#reader.close()
    this.#backlog.clear()
    closeFd(this.#options.fd)
  }

  get #isFull(): boolean {
    return this.#backlog.size > MAX_BACKLOG_SIZE || this.#backlog.count > MAX_BACKLOG_COUNT
  }

  #sendSmall(size: number, message: Header, payload: Uint8Array, fds: readonly number[]): void {
    const { bytes, view } = this.#outbox
    const header = this.#header.aim(view)
    header.msg_id = message.id
    header.command = message.command
    header.size = size
    header.flags = message.flags
    header.error = message.error ?? 0
    bytes.set(payload, wire.VfioUserHeader.size)
    const sent = this.#outbox.send(this.#options.fd, size, fds)
    if (sent < size) this.#keep(bytes.slice(0, size), sent, fds)
  }

  #sendLarge(message: Uint8Array, fds: readonly number[]): void {
    const sent = sendBytes(this.#options.fd, message, fds)
    if (sent < message.length) this.#keep(message, sent, fds)
  }

  /** @param sent bytes of it that the socket took, or WOULD_BLOCK */
  #keep(message: Uint8Array, sent: number, fds: readonly number[]): void {
    if (sent < 0 && fds.length > 0) throw doesNotRead()
    this.#backlog.add(message.subarray(Math.max(0, sent)))
    this.#updateInterest()
  }

  #updateInterest(): void {
    const read = this.#isFull ? 0 : EPOLLIN
    this.#watch.interest = this.isBlocked ? read | EPOLLOUT : read
  }

  #onReady(): void {
    try {
      if (this.isBlocked) this.#backlog.send(this.#options.fd)
      if (!this.#isFull) this.#receive()
      if (!this.#closed) this.#updateInterest()
    } catch (error) {
      this.#options.onEnd(error)
    }
  }

  #receive(): void {
    if (this.#reader.stopped) this.#reader.resume()
    else if (this.#reader.receive(this.#options.fd) === 'end') this.#options.onEnd(undefined)
  }
}

function doesNotRead(): ErrnoError {
  return new ErrnoError('EAGAIN', 'message with fds: the peer does not read, and they cannot wait')
}

const NO_FDS: readonly number[] = []
