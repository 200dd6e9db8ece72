/**
 * Frames: a byte stream with fds cut into messages. Both ends of the protocol read through this.
 *
 * Whatever comes in fragments or glued together, each message is handed on whole, in place, with the fds that were sent
 * with its first byte. Every received fd is owned by a message, or closed.
 */
import { ErrnoError } from '../lib/errno.ts'
import { dataViewOf } from '../lib/struct.ts'
import * as wire from '../abi/vfio-user.ts'
import { closeFds } from '../os/fd.ts'
import { type Inbox, receiveInto, WOULD_BLOCK } from '../os/message.ts'

/** Most bytes taken in one go, so that a flooding peer leaves room for others. */
const WINDOW = 16 * 1024

/** One message, in place. It is reused: what outlives the handler must be copied. */
export class Message {
  /** Whose bytes the payload is in. */
  view: DataView = new DataView(new ArrayBuffer(0))
  bytes: Uint8Array = new Uint8Array(0)
  /** Where the payload starts in `view` and `bytes`, and its length. */
  at = 0
  length = 0
  id = 0
  command = 0
  flags = 0
  error = 0
  /** What came with it; {@link takeFd} what is used, the rest is closed after the handler. */
  readonly fds: number[] = []

  /** The next fd, owned by the caller from now on. */
  takeFd(): number {
    return this.fds.shift() ?? -1
  }

  /** A copy of the payload from `offset` on. */
  payload(offset = 0): Uint8Array {
    return this.bytes.slice(this.at + offset, this.at + this.length)
  }

  closeFds(): void {
    closeFds(this.fds.splice(0))
  }
}

/** What a message says of itself; its size follows from its payload. */
export interface Header {
  readonly id: number
  readonly command: number
  /** VFIO_USER_F_*. */
  readonly flags: number
  /** Positive errno, of a reply with VFIO_USER_F_ERROR. */
  readonly error?: number
}

/** Flags of a reply. */
export const SUCCESS = wire.VFIO_USER_F_TYPE_REPLY
export const FAILURE = wire.VFIO_USER_F_TYPE_REPLY | wire.VFIO_USER_F_ERROR

/** Takes messages. @returns false to stop here, until {@link FrameReader.resume} */
export type MessageHandler = (message: Message) => boolean

/** What a {@link FrameReader.receive} ended with. */
export type Received = 'messages' | 'nothing' | 'end'

const NO_BYTES = new Uint8Array(0)

export class FrameReader {
  /** Most bytes of a message, header included; a larger one breaks the connection. */
  maxSize: number
  readonly #inbox: Inbox
  readonly #onMessage: MessageHandler
  readonly #message = new Message()
  readonly #header = wire.VfioUserHeader.view()
  /** The start of a message whose rest has not come, or messages that were not taken yet. */
  #kept: Uint8Array = NO_BYTES
  /** Fds of the message that `#kept` starts with. */
  #keptFds: number[] = []
  /** Fds of the last message in `#kept`, when that holds whole messages. */
  #lastFds: number[] = []
  /** A message larger than the window, received into a buffer of its own. */
  #large: { readonly bytes: Uint8Array; filled: number } | undefined
  #stopped = false
  #closed = false

  /**
   * @param inbox     shared by all readers of this thread
   * @param maxSize   of a message, header included
   * @param onMessage handles each message
   */
  constructor(inbox: Inbox, maxSize: number, onMessage: MessageHandler) {
    this.#inbox = inbox
    this.maxSize = maxSize
    this.#onMessage = onMessage
  }

  /** Whether whole messages may wait here, not taken because the handler stopped. */
  get stopped(): boolean {
    return this.#stopped
  }

  /**
   * Receives once, and hands on the messages that are complete.
   *
   * @throws EPROTO framing is broken, or fds were lost: the connection cannot go on · ECONNRESET
   */
  receive(fd: number): Received {
    if (this.#large !== undefined) return this.#receiveLarge(fd, this.#large)
    const inbox = this.#inbox
    const kept = this.#kept.length
    if (kept > 0) inbox.bytes.set(this.#kept)
    const count = inbox.receive(fd, kept, WINDOW)
    if (count === WOULD_BLOCK) return 'nothing'
    const fds = inbox.fds.length > 0 ? inbox.fds.splice(0) : NO_FDS
    if (inbox.truncated) {
      closeFds(fds)
      throw new ErrnoError('EPROTO', 'fds were lost on the way')
    }
    if (count === 0) {
      closeFds(fds)
      return 'end'
    }
    this.#kept = NO_BYTES
    this.#parse(inbox.bytes, inbox.view, kept + count, fds, kept)
    return 'messages'
  }

  /** Goes on with what was received but not taken. @throws as {@link receive} */
  resume(): void {
    if (!this.#stopped) return
    this.#stopped = false
    const bytes = this.#kept
    const fds = this.#lastFds
    this.#kept = NO_BYTES
    this.#lastFds = []
    this.#parse(bytes, dataViewOf(bytes), bytes.length, fds, 0)
  }

  /** Closes the fds of messages that were never handed on. The handler may do that too: nothing more reaches it then. */
  close(): void {
    this.#closed = true
    closeFds(this.#keptFds.splice(0))
    closeFds(this.#lastFds.splice(0))
    this.#kept = NO_BYTES
    this.#large = undefined
  }

  /**
   * @param fds   belong to the last message that starts before `end`
   * @param fresh where the bytes start that came with the fds: a message that started earlier has none to get any more
   */
  #parse(
    bytes: Uint8Array,
    view: DataView,
    end: number,
    fds: readonly number[],
    fresh: number,
  ): void {
    let at = 0
    let unclaimed = fds
    try {
      while (end - at >= wire.VfioUserHeader.size) {
        const size = this.#sizeAt(view, at)
        if (size > end - at) break
        const message = this.#aim(bytes, view, at, size)
        if (unclaimed.length > 0 && at + size === end && at >= fresh) {
          message.fds.push(...unclaimed)
          unclaimed = NO_FDS
        }
        at += size
        const next = this.#deliver(message)
        if (this.#closed) return
        if (!next && at < end) {
          this.#stopped = true
          // what is the inbox's belongs to the next receive; what was kept once stays where it is
          this.#kept = bytes === this.#inbox.bytes ? bytes.slice(at, end) : bytes.subarray(at, end)
          this.#lastFds = [...unclaimed]
          unclaimed = NO_FDS
          return
        }
      }
      if (at < end) {
        this.#keep(bytes, view, at, end)
        if (at >= fresh) {
          this.#keptFds.push(...unclaimed)
          unclaimed = NO_FDS
        }
      }
    } finally {
      closeFds(unclaimed)
    }
  }

  #sizeAt(view: DataView, at: number): number {
    const size = view.getUint32(at + wire.VfioUserHeader.offsets.size, true)
    if (size < wire.VfioUserHeader.size || size > this.maxSize) {
      throw new ErrnoError(
        'EPROTO',
        `message of ${size} bytes: ${wire.VfioUserHeader.size} to ${this.maxSize} are allowed`,
      )
    }
    return size
  }

  /** Keeps the start of a message until its rest comes. */
  #keep(bytes: Uint8Array, view: DataView, at: number, end: number): void {
    if (end - at >= wire.VfioUserHeader.size) {
      const size = this.#sizeAt(view, at)
      if (size > WINDOW) {
        const large = new Uint8Array(size)
        large.set(bytes.subarray(at, end))
        this.#large = { bytes: large, filled: end - at }
        return
      }
    }
    this.#kept = bytes.slice(at, end)
  }

  #receiveLarge(fd: number, large: { readonly bytes: Uint8Array; filled: number }): Received {
    const count = receiveInto(fd, large.bytes.subarray(large.filled))
    if (count === WOULD_BLOCK) return 'nothing'
    if (count === 0) return 'end'
    large.filled += count
    if (large.filled === large.bytes.length) {
      this.#large = undefined
      const view = dataViewOf(large.bytes)
      this.#deliver(this.#aim(large.bytes, view, 0, large.bytes.length))
    }
    return 'messages'
  }

  #aim(bytes: Uint8Array, view: DataView, at: number, size: number): Message {
    const header = this.#header.aim(view, at)
    const message = this.#message
    message.bytes = bytes
    message.view = view
    message.at = at + wire.VfioUserHeader.size
    message.length = size - wire.VfioUserHeader.size
    message.id = header.msg_id
    message.command = header.command
    message.flags = header.flags
    message.error = header.error
    if (this.#keptFds.length > 0) message.fds.push(...this.#keptFds.splice(0))
    return message
  }

  #deliver(message: Message): boolean {
    try {
      return this.#onMessage(message)
    } finally {
      if (message.fds.length > 0) message.closeFds()
    }
  }
}

/** A message as it stands, in bytes of its own: for what is not built in a buffer that is there already. */
export function encodeMessage(
  { id, command, flags, error = 0 }: Header,
  payload: Uint8Array = NO_BYTES,
): Uint8Array {
  const size = wire.VfioUserHeader.size + payload.length
  const message = new Uint8Array(size)
  message.set(wire.VfioUserHeader.encode({ msg_id: id, command, size, flags, error }))
  message.set(payload, wire.VfioUserHeader.size)
  return message
}

const NO_FDS: readonly number[] = []
