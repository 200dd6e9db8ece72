/**
 * Requests from the server to its client: DMA_READ and DMA_WRITE, for memory that the client shares no file of.
 *
 * Many may be under way; answers come in any order, late, or never. On the socket that replies go by too, they are sent
 * after the replies of the turn: while QEMU waits for a reply it cannot answer, so a reply must never wait for one of these.
 * A client that wants otherwise asks for a twin socket.
 */
import * as wire from '../abi/vfio-user.ts'
import { allOf } from '../lib/all-of.ts'
import { ErrnoError, errnoCode, MAX_ERRNO } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { RemoteMemory } from '../iommu/memory.ts'
import type { Header, Message } from './frame.ts'

/**
 * Most data bytes of one read. QEMU 11.1 sends an answer with one `sendmsg` that does not wait, and takes it for sent whole
 * when the socket took a part of it. A socket takes all or nothing of a message that fits one of its buffers: 36,544 bytes
 * with the headers (Linux, net/unix/af_unix.c, unix_stream_sendmsg).
 */
const MAX_READ = 32 * 1024
/** Most requests under way; more wait for their turn. */
const MAX_OUTSTANDING = 64
/** How long an answer may take; QEMU's main loop can be busy for seconds. */
const TIMEOUT_MS = 10_000
/** So many unanswered requests say that the client answers none. */
const MAX_LOST = 1024

interface Request {
  readonly command: number
  readonly iova: number
  /** Read into, or written from. */
  readonly bytes: Uint8Array
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

interface Outstanding extends Request {
  readonly timer: NodeJS.Timeout
}

export interface ClientRequestsOptions {
  /** Sends a request, now or when the turn's replies are out. */
  readonly send: (request: Header, payload: Uint8Array) => void
  /** Most data bytes of one request, as negotiated. */
  readonly maxTransfer: () => number
  readonly timeoutMs?: number
}

export class ClientRequests implements RemoteMemory {
  readonly #options: ClientRequestsOptions
  readonly #waiting: Request[] = []
  readonly #outstanding = new Map<number, Outstanding>()
  /** Ids of requests that were given up; a late answer must not be taken for another's. */
  readonly #lost = new Set<number>()
  #nextId = 1
  #ended: ErrnoError | undefined

  constructor(options: ClientRequestsOptions) {
    this.#options = options
  }

  /** Requests sent and not answered. */
  get outstanding(): number {
    return this.#outstanding.size
  }

  /** Copies client memory at `iova` into `target`. @throws the client's errno · ETIMEDOUT · ECONNRESET it has gone */
  async read(iova: number, target: Uint8Array): Promise<void> {
    await this.#transfer(wire.VFIO_USER_DMA_READ, iova, target)
  }

  /** Copies `source`, as it is now, into client memory at `iova`. @throws as {@link read} */
  async write(iova: number, source: Uint8Array): Promise<void> {
    await this.#transfer(wire.VFIO_USER_DMA_WRITE, iova, source.slice())
  }

  /** Takes a reply. @returns false for one to nothing that was asked */
  settle(message: Message): boolean {
    const request = this.#outstanding.get(message.id)
    if (request === undefined || request.command !== message.command) {
      return this.#lost.delete(message.id)
    }
    this.#outstanding.delete(message.id)
    clearTimeout(request.timer)
    this.#sendWaiting()
    if ((message.flags & wire.VFIO_USER_F_ERROR) !== 0) {
      const errno = message.error >= 1 && message.error <= MAX_ERRNO ? message.error : EIO
      request.reject(refusal(request, errnoCode(errno), 'refused by the client'))
      return true
    }
    if (request.command === wire.VFIO_USER_DMA_READ) {
      const { bytes } = request
      if (message.length < bytes.length) {
        request.reject(refusal(request, 'EPROTO', `${message.length} bytes came back`))
        return true
      }
      // Old clients count in 32 bits and so shift the data; at the end of the message it always is.
      const end = message.at + message.length
      bytes.set(message.bytes.subarray(end - bytes.length, end))
    }
    request.resolve()
    return true
  }

  /** The client has gone. */
  close(): void {
    this.#ended = new ErrnoError('ECONNRESET', 'dma by message: the client has gone')
    for (const { timer, reject } of this.#outstanding.values()) {
      clearTimeout(timer)
      reject(this.#ended)
    }
    for (const { reject } of this.#waiting.splice(0)) reject(this.#ended)
    this.#outstanding.clear()
  }

  async #transfer(command: number, iova: number, bytes: Uint8Array): Promise<void> {
    const most = this.#options.maxTransfer()
    const step = command === wire.VFIO_USER_DMA_READ ? Math.min(most, MAX_READ) : most
    if (step <= 0) throw new ErrnoError('EOPNOTSUPP', 'dma by message: the client takes none')
    const parts: Promise<void>[] = []
    for (let done = 0; done < bytes.length; done += step) {
      parts.push(this.#request(command, iova + done, bytes.subarray(done, done + step)))
    }
    await allOf(parts)
  }

  #request(command: number, iova: number, bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended)
        return
      }
      this.#waiting.push({ command, iova, bytes, resolve, reject })
      this.#sendWaiting()
    })
  }

  #sendWaiting(): void {
    while (this.#outstanding.size < MAX_OUTSTANDING) {
      const request = this.#waiting.shift()
      if (request === undefined) return
      if (this.#lost.size >= MAX_LOST) {
        request.reject(refusal(request, 'ETIMEDOUT', 'the client answers nothing'))
        continue
      }
      const id = this.#freeId()
      const timer = setTimeout(() => this.#expire(id), this.#options.timeoutMs ?? TIMEOUT_MS)
      this.#outstanding.set(id, { ...request, timer })
      this.#options.send({ id, command: request.command, flags: COMMAND }, payloadOf(request))
    }
  }

  #freeId(): number {
    let id = this.#nextId
    while (this.#outstanding.has(id) || this.#lost.has(id)) id = (id + 1) & 0xffff
    this.#nextId = (id + 1) & 0xffff
    return id
  }

  #expire(id: number): void {
    const request = this.#outstanding.get(id)
    if (request === undefined) return
    this.#outstanding.delete(id)
    this.#lost.add(id)
    request.reject(refusal(request, 'ETIMEDOUT', 'no answer'))
    this.#sendWaiting()
  }
}

const EIO = 5
const COMMAND = wire.VFIO_USER_F_TYPE_COMMAND

function payloadOf({ command, iova, bytes }: Request): Uint8Array {
  const access = wire.VfioUserDmaAccess.encode({ addr: iova, count: bytes.length })
  return command === wire.VFIO_USER_DMA_WRITE ? Buffer.concat([access, bytes]) : access
}

function refusal(
  { command, iova, bytes }: Request,
  code: ErrnoError['code'],
  why: string,
): ErrnoError {
  const verb = command === wire.VFIO_USER_DMA_READ ? 'read' : 'write'
  return new ErrnoError(code, `dma ${verb} ${hex(iova)}+${hex(bytes.length)} by message: ${why}`)
}
