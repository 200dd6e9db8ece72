/**
 * The client's end of a connection with no manners: sends any bytes with any fds in any pieces, and shows what comes back.
 *
 * What does not come in time, and what is no message at all, is a {@link Violation}.
 */
import * as wire from '../../abi/vfio-user.ts'
import { ErrnoError, errnoCode } from '../../lib/errno.ts'
import { closeFd } from '../../os/fd.ts'
import { Inbox, Outbox, sendBytes, WOULD_BLOCK } from '../../os/message.ts'
import { EPOLLIN, EPOLLOUT, reactor, type Watch } from '../../os/reactor.ts'
import { endWriting, hasUnread } from '../../os/socket-ends.ts'
import { FrameReader, type Message } from '../frame.ts'
import { deviceInfo, type Header, message } from './requests.ts'
import { Violation } from './violation.ts'

/** Largest message that is received: QEMU takes transfers of 64 MiB (§5). */
const MAX_MESSAGE = 64 * 2 ** 20 + 4096
const INBOX_CAPACITY = 64 * 1024
/** How long a piece waits to be read by itself; a server may wait for the rest before it reads. */
const PIECE_MS = 200
/** How long a server may take to close its end after we have ended ours. */
const END_MS = 1000
/** What QEMU answers to DMA at an address that is not mapped. */
const ENODEV = 19

/** One message from the server. */
export interface Frame {
  readonly id: number
  readonly command: number
  readonly flags: number
  readonly error: number
  readonly payload: Buffer
  /** Closed with the connection. */
  readonly fds: readonly number[]
}

export class RawConnection {
  readonly #fd: number
  readonly #limitMs: number
  readonly #reader: FrameReader
  readonly #watch: Watch
  readonly #frames: Frame[] = []
  readonly #fds: number[] = []
  /** What waits until something comes, or may be sent. */
  readonly #waiters = new Set<() => void>()
  #nextId = 0x100
  /** Why nothing more comes. */
  #ended: 'end' | ErrnoError | undefined
  #closed = false

  /**
   * @param fd      connected; owned here
   * @param limitMs how long anything may take
   */
  constructor(fd: number, limitMs: number) {
    this.#fd = fd
    this.#limitMs = limitMs
    this.#reader = new FrameReader(new Inbox(INBOX_CAPACITY), MAX_MESSAGE, (received) =>
      this.#onMessage(received),
    )
    this.#watch = reactor().watch(fd, EPOLLIN, () => this.#onReady())
  }

  /** Sends all of `bytes`; `fds`, which stay the caller's, go with the first. What a closed socket does not take is lost. */
  async send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    for (let done = 0; done < bytes.length && this.#ended === undefined;) {
      const sent = this.#sendNow(bytes.subarray(done), done === 0 ? fds : [])
      if (sent === undefined) return
      done += sent
      if (sent === 0) await this.#writable()
    }
  }

  /** Sends `pieces`, each after the server has read the one before; `fds` go with the last. */
  async sendPieces(pieces: readonly Uint8Array[], fds: readonly number[] = []): Promise<void> {
    for (const [i, piece] of pieces.entries()) {
      await this.send(piece, i === pieces.length - 1 ? fds : [])
      await this.#read()
    }
  }

  /** Sends a command; the answer is for {@link next}. @returns its id */
  async command(
    command: number,
    payload?: Uint8Array,
    { fds = [], id = this.#nextId++ & 0xffff, ...header }: RequestOptions = {},
  ): Promise<number> {
    await this.send(message(command, payload, { ...header, id }), fds)
    return id
  }

  /**
   * Sends a command and waits for the next message, which is taken for its answer: whether it has the right id is the
   * matter of a check, not of all of them.
   */
  async request(command: number, payload?: Uint8Array, options?: RequestOptions): Promise<Frame> {
    await this.command(command, payload, options)
    return this.next(`an answer to ${commandName(command)}`)
  }

  /** The next message. @param expected for the report, if none comes */
  async next(expected: string): Promise<Frame> {
    const frame = await this.nextOrEnd(expected)
    if (frame === undefined) throw new Violation(expected, 'the end of the connection')
    return frame
  }

  /** The next message, or undefined at the end of the connection. */
  async nextOrEnd(expected: string): Promise<Frame | undefined> {
    while (this.#frames.length === 0 && this.#ended === undefined) {
      if (!(await this.#changed(this.#limitMs)))
        throw new Violation(expected, `nothing in ${this.#limitMs} ms`)
    }
    const frame = this.#frames.shift()
    if (frame === undefined && this.#ended instanceof ErrnoError)
      throw new Violation(expected, this.#ended.message)
    return frame
  }

  /** The connection has survived what was sent, and there is nothing else to be read. */
  async expectAlive(after: string): Promise<void> {
    const expected = `after ${after}: a connection that answers DEVICE_GET_INFO`
    await this.command(wire.VFIO_USER_DEVICE_GET_INFO, deviceInfo())
    const frame = await this.next(expected)
    if (frame.command !== wire.VFIO_USER_DEVICE_GET_INFO || isError(frame))
      throw new Violation(expected, describeFrame(frame))
  }

  /** Nothing but the end comes. */
  async expectEnd(expected: string): Promise<void> {
    const frame = await this.nextOrEnd(expected)
    if (frame !== undefined) throw new Violation(expected, describeFrame(frame))
  }

  /** Ends our side: the server reads the end, and may still answer. */
  endWriting(): void {
    endWriting(this.#fd)
  }

  /** Ends our side, waits until the server has ended its own, so that it can serve the next client, and closes. */
  async finish(): Promise<void> {
    if (this.#closed) return
    this.endWriting()
    const deadline = performance.now() + END_MS
    while (this.#ended === undefined) {
      const left = deadline - performance.now()
      if (left <= 0 || !(await this.#changed(left))) break
    }
    this.close()
  }

  /** Gives an fd that came with a message to the caller. */
  release(fd: number): number {
    this.#fds.splice(this.#fds.indexOf(fd), 1)
    return fd
  }

  /** Closes at once, as a client does that was killed. Idempotent. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#ended ??= 'end'
    this.#watch.close()
    closeFd(this.#fd)
    this.#reader.close()
    for (const fd of this.#fds.splice(0)) closeFd(fd)
    this.#wakeAll()
  }

  /** @returns bytes that the socket took; undefined when there is nobody to send to any more */
  #sendNow(bytes: Uint8Array, fds: readonly number[]): number | undefined {
    try {
      if (fds.length === 0) return Math.max(0, sendBytes(this.#fd, bytes))
      const outbox = new Outbox(bytes.length)
      outbox.bytes.set(bytes)
      const sent = outbox.send(this.#fd, bytes.length, fds)
      return sent === WOULD_BLOCK ? 0 : sent
    } catch (error) {
      const gone = error instanceof ErrnoError && ['EPIPE', 'ECONNRESET'].includes(error.code)
      if (gone) return undefined // what it said before it closed is still to be read
      throw error
    }
  }

  async #writable(): Promise<void> {
    const expected = 'a server that reads what it is sent'
    this.#watch.interest = EPOLLIN | EPOLLOUT
    if (!(await this.#changed(this.#limitMs)))
      throw new Violation(expected, `it read nothing for ${this.#limitMs} ms`)
  }

  /** Waits until the server has read all that was sent. */
  async #read(): Promise<void> {
    const deadline = performance.now() + PIECE_MS
    while (this.#ended === undefined && hasUnread(this.#fd) && performance.now() < deadline) {
      await new Promise((resolve) => setImmediate(resolve)) // nothing tells of it but a look
    }
  }

  /** Waits until something comes, or may be sent. @returns false when nothing did in time */
  async #changed(limitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (changed: boolean) => {
        clearTimeout(timer)
        this.#waiters.delete(wake)
        resolve(changed)
      }
      const wake = () => settle(true)
      const timer = setTimeout(() => settle(false), limitMs)
      this.#waiters.add(wake)
    })
  }

  #onReady(): void {
    this.#watch.interest = EPOLLIN
    try {
      if (this.#reader.receive(this.#fd) === 'end') this.#end('end')
    } catch (error) {
      if (!(error instanceof ErrnoError)) throw error
      // what a socket says at the end whose peer closed it with requests unread
      this.#end(error.code === 'ECONNRESET' ? 'end' : error)
    }
    this.#wakeAll()
  }

  #wakeAll(): void {
    for (const wake of this.#waiters) wake()
  }

  #end(why: 'end' | ErrnoError): void {
    this.#ended = why
    this.#watch.close() // else the end would be reported without end
  }

  #onMessage(received: Message): boolean {
    const { id, command, flags, error } = received
    if ((flags & wire.VFIO_USER_F_TYPE_MASK) === wire.VFIO_USER_F_TYPE_COMMAND) {
      this.#refuse(id, command, flags)
      return true
    }
    const fds = received.fds.splice(0)
    this.#fds.push(...fds)
    this.#frames.push({ id, command, flags, error, payload: Buffer.from(received.payload()), fds })
    return true
  }

  /** A device may go on with DMA that another client began: it finds no memory here. */
  #refuse(id: number, command: number, flags: number): void {
    if ((flags & wire.VFIO_USER_F_NO_REPLY) !== 0) return
    const refusal = wire.VFIO_USER_F_TYPE_REPLY | wire.VFIO_USER_F_ERROR
    this.#sendNow(message(command, undefined, { id, flags: refusal, error: ENODEV }), [])
  }
}

export interface RequestOptions extends Header {
  /** Stay the caller's. */
  readonly fds?: readonly number[]
}

export function isError({ flags }: Frame): boolean {
  return (flags & wire.VFIO_USER_F_ERROR) !== 0
}

/** What a reply to DMA_UNMAP tells; undefined for a refusal, and for one that tells nothing. */
export function bytesUnmapped(frame: Frame): bigint | undefined {
  if (isError(frame) || frame.payload.length < wire.VfioUserDmaUnmap.size) return undefined
  return frame.payload.readBigUInt64LE(16)
}

/** What came, for the report of a check. */
export function describeFrame(frame: Frame): string {
  const { command, error, payload, fds } = frame
  const what = isError(frame)
    ? `refused with ${error === 0 ? 'errno 0' : `${errnoCode(error)} (${error})`}`
    : `success with ${payload.length} bytes`
  const files = fds.length === 0 ? '' : ` and ${fds.length} fds`
  return `${commandName(command)}: ${what}${files}`
}

const NAMES: Readonly<Record<number, string>> = {
  [wire.VFIO_USER_VERSION]: 'VERSION',
  [wire.VFIO_USER_DMA_MAP]: 'DMA_MAP',
  [wire.VFIO_USER_DMA_UNMAP]: 'DMA_UNMAP',
  [wire.VFIO_USER_DEVICE_GET_INFO]: 'DEVICE_GET_INFO',
  [wire.VFIO_USER_DEVICE_GET_REGION_INFO]: 'DEVICE_GET_REGION_INFO',
  [wire.VFIO_USER_DEVICE_GET_REGION_IO_FDS]: 'DEVICE_GET_REGION_IO_FDS',
  [wire.VFIO_USER_DEVICE_GET_IRQ_INFO]: 'DEVICE_GET_IRQ_INFO',
  [wire.VFIO_USER_DEVICE_SET_IRQS]: 'DEVICE_SET_IRQS',
  [wire.VFIO_USER_REGION_READ]: 'REGION_READ',
  [wire.VFIO_USER_REGION_WRITE]: 'REGION_WRITE',
  [wire.VFIO_USER_DMA_READ]: 'DMA_READ',
  [wire.VFIO_USER_DMA_WRITE]: 'DMA_WRITE',
  [wire.VFIO_USER_DEVICE_RESET]: 'DEVICE_RESET',
  [wire.VFIO_USER_REGION_WRITE_MULTI]: 'REGION_WRITE_MULTI',
  [wire.VFIO_USER_DEVICE_FEATURE]: 'DEVICE_FEATURE',
  [wire.VFIO_USER_MIG_DATA_READ]: 'MIG_DATA_READ',
  [wire.VFIO_USER_MIG_DATA_WRITE]: 'MIG_DATA_WRITE',
}

export function commandName(command: number): string {
  return NAMES[command] ?? `command ${command}`
}
