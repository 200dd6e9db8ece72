/**
 * A vfio-user client that says exactly the bytes it is told to, whole, in pieces or wrong, and shows what comes back.
 *
 * Numbers are restated from the reference (sections 3 and 4), not imported: a client that shares ours would be wrong with us.
 */
import assert from 'node:assert/strict'
import { closeFd } from '../../src/os/fd.ts'
import { addressOf, cFunction, check } from '../../src/os/ffi.ts'
import { Inbox, Outbox, WOULD_BLOCK } from '../../src/os/message.ts'
import { EPOLLIN, EPOLLOUT, reactor } from '../../src/os/reactor.ts'
import { connectUnix } from '../../src/os/unix-socket.ts'

export const VERSION = 1
export const DMA_MAP = 2
export const DMA_UNMAP = 3
export const GET_INFO = 4
export const GET_REGION_INFO = 5
export const GET_REGION_IO_FDS = 6
export const GET_IRQ_INFO = 7
export const SET_IRQS = 8
export const REGION_READ = 9
export const REGION_WRITE = 10
export const RESET = 13
export const REGION_WRITE_MULTI = 15
export const DEVICE_FEATURE = 16
export const MIG_DATA_READ = 17
export const MIG_DATA_WRITE = 18

/** Flags of the header. */
export const NO_REPLY = 0x10
const SUCCESS = 0x01
const FAILURE = 0x21

/** Linux numbers, from the head of the reference. */
export const ERRNO = {
  ENOENT: 2,
  EIO: 5,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  EINVAL: 22,
  ENOSPC: 28,
  ENOTSUP: 95,
  ETIMEDOUT: 110,
} as const
export type Errno = keyof typeof ERRNO

const ioctl = cFunction('ioctl', 'int', ['int', 'u64', 'ptr'])
/** <asm-generic/ioctls.h>: how much of what was sent the peer has not received. */
const SIOCOUTQ = 0x5411

/** What a peer that does not answer is given up after, so that a test fails rather than waits. */
const PATIENCE_MS = 20_000

export interface RawReply {
  readonly id: number
  readonly command: number
  readonly size: number
  readonly flags: number
  readonly error: number
  readonly payload: Buffer
  readonly fds: readonly number[]
}

export function u16(...values: readonly number[]): Buffer {
  return Buffer.from(Uint16Array.from(values).buffer)
}

export function u32(...values: readonly number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer)
}

export function u64(...values: readonly (number | bigint)[]): Buffer {
  return Buffer.from(BigUint64Array.from(values, BigInt).buffer)
}

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
}

export interface HeaderOptions {
  readonly id?: number
  readonly flags?: number
  /** What the header says, if that is not the truth. */
  readonly size?: number
  readonly error?: number
}

/** A message: the header of section 3, and the payload. */
export function message(
  command: number,
  payload: Uint8Array = Buffer.alloc(0),
  { id = 0, flags = 0, size = 16 + payload.length, error = 0 }: HeaderOptions = {},
): Buffer {
  return Buffer.concat([u16(id, command), u32(size, flags, error), payload])
}

/** The payload of VERSION: 0.`minor`, and JSON with its NUL unless there is none. */
export function versionPayload(json?: string, { major = 0, minor = 0 } = {}): Buffer {
  return Buffer.concat([u16(major, minor), Buffer.from(json === undefined ? '' : `${json}\0`)])
}

/** What QEMU 11.1.3 proposes (section 5.1). */
export const QEMU_JSON =
  '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}'

/** The payload that both REGION_READ and REGION_WRITE begin with. */
export function access(
  region: number,
  offset: number | bigint,
  count: number,
  data?: Uint8Array,
): Buffer {
  return Buffer.concat([u64(offset), u32(region, count), data ?? Buffer.alloc(0)])
}

/** A request's fields; what is left out fits a map of one page at 0. */
export interface DmaFields {
  readonly argsz?: number
  readonly flags?: number
  readonly offset?: number | bigint
  readonly iova?: number | bigint
  readonly size?: number | bigint
}

export function dmaMap(fields: DmaFields = {}): Buffer {
  const { argsz = 32, flags = 3, offset = 0, iova = 0, size = 0x1000 } = fields
  return Buffer.concat([u32(argsz, flags), u64(offset, iova, size)])
}

export function dmaUnmap(fields: DmaFields = {}): Buffer {
  const { argsz = 24, flags = 0, iova = 0, size = 0x1000 } = fields
  return Buffer.concat([u32(argsz, flags), u64(iova, size)])
}

export function irqSet(
  flags: number,
  index: number,
  start: number,
  count: number,
  data: readonly number[] = [],
  argsz = 20,
): Buffer {
  return Buffer.concat([u32(argsz, flags, index, start, count), Buffer.from(data)])
}

/** DEVICE_FEATURE (section 14.1): bits 0 to 15 name the feature, the others what is done with it. */
export const GET = 0x10000
export const SET = 0x20000
export const PROBE = 0x40000

/** The payload of DEVICE_FEATURE; argsz has room for the data and 8 bytes more unless given. */
export function feature(
  flags: number,
  data: Uint8Array = Buffer.alloc(0),
  argsz = 8 + Math.max(8, data.length),
): Buffer {
  return Buffer.concat([u32(argsz, flags), data])
}

export interface RequestOptions extends HeaderOptions {
  readonly fds?: readonly number[]
}

export class RawClient implements Disposable {
  readonly fd: number
  readonly #inbox = new Inbox(64 * 1024)
  #received: Buffer = Buffer.alloc(0)
  #fds: number[] = []
  #nextId = 1
  #ended = false
  #closed = false

  constructor(fd: number) {
    this.fd = fd
  }

  /** Connects and says nothing. */
  static connect(path: string): RawClient {
    return new RawClient(connectUnix(path))
  }

  /** Connects and says VERSION as QEMU does. */
  static async attach(path: string, json = QEMU_JSON): Promise<RawClient> {
    const client = RawClient.connect(path)
    const reply = await client.request(VERSION, versionPayload(json))
    assertSuccess(reply)
    return client
  }

  /** Sends all of `bytes`, in one sendmsg if the socket takes them; `fds` go with the first. */
  async send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    for (let done = 0; done < bytes.length;) {
      const sent = this.sendNow(bytes.subarray(done), done === 0 ? fds : [])
      if (sent === 0) await this.#ready(EPOLLOUT)
      done += sent
    }
  }

  /** Sends what the socket takes now. @returns how many bytes that is */
  sendNow(bytes: Uint8Array, fds: readonly number[] = []): number {
    const outbox = new Outbox(bytes.length)
    outbox.bytes.set(bytes)
    const sent = outbox.send(this.fd, bytes.length, fds)
    return sent === WOULD_BLOCK ? 0 : sent
  }

  /** Waits until the server has received all that was sent. */
  async received(): Promise<void> {
    const waiting = new Int32Array(1)
    do {
      await new Promise((resolve) => setImmediate(resolve))
      check(ioctl(this.fd, SIOCOUTQ, addressOf(waiting)), 'SIOCOUTQ')
    } while (waiting[0] !== 0)
  }

  /** Waits for exactly `count` bytes. @throws at the end of the stream */
  async receive(count: number): Promise<Buffer> {
    while (this.#received.length < count) {
      await this.#more()
      if (this.#ended)
        throw new Error(
          `the server closed after ${this.#received.length} bytes, ${count} were awaited`,
        )
    }
    const bytes = this.#received.subarray(0, count)
    this.#received = this.#received.subarray(count)
    return bytes
  }

  /** Waits for one message. */
  async reply(): Promise<RawReply> {
    const header = await this.receive(16)
    const size = header.readUInt32LE(4)
    const payload = await this.receive(size - 16)
    return {
      id: header.readUInt16LE(0),
      command: header.readUInt16LE(2),
      size,
      flags: header.readUInt32LE(8),
      error: header.readUInt32LE(12),
      payload,
      fds: this.#fds.splice(0),
    }
  }

  /** Sends a request and waits for what must be its reply: same id, same command, no fd. */
  async request(
    command: number,
    payload?: Uint8Array,
    options: RequestOptions = {},
  ): Promise<RawReply> {
    const reply = await this.requestFds(command, payload, options)
    assert.deepEqual(reply.fds, [])
    return reply
  }

  /** The same for a reply that may carry fds, which are the caller's. */
  async requestFds(
    command: number,
    payload?: Uint8Array,
    { fds = [], id = this.#nextId++ & 0xffff, ...header }: RequestOptions = {},
  ): Promise<RawReply> {
    await this.send(message(command, payload, { ...header, id }), fds)
    const reply = await this.reply()
    assert.equal(reply.id, id)
    assert.equal(reply.command, command)
    return reply
  }

  /** Waits for the end of the stream. @throws when more bytes come first */
  async end(): Promise<void> {
    while (!this.#ended) await this.#more()
    assert.equal(this.#received.toString('hex'), '', 'bytes before the end of the stream')
  }

  /** The connection has survived: GET_INFO is answered as section 7 has it. */
  async assertAlive(): Promise<void> {
    const reply = await this.request(GET_INFO, u32(16, 0, 0, 0))
    assertSuccess(reply)
    assert.deepEqual(reply.payload, u32(16, 3, 9, 5))
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    closeFd(this.fd)
    for (const fd of this.#fds) closeFd(fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  async #more(): Promise<void> {
    let count = this.#receiveNow()
    while (count === WOULD_BLOCK) {
      await this.#ready(EPOLLIN)
      count = this.#receiveNow()
    }
    if (count === 0) this.#ended = true
    else this.#received = Buffer.concat([this.#received, this.#inbox.bytes.subarray(0, count)])
  }

  #receiveNow(): number {
    try {
      return this.#inbox.receive(this.fd, 0, this.#inbox.bytes.length)
    } catch (error) {
      // what a socket says at the end whose peer has closed it with requests unread
      if ((error as { code?: string }).code === 'ECONNRESET') return 0
      throw error
    } finally {
      this.#fds.push(...this.#inbox.fds.splice(0))
    }
  }

  async #ready(interest: number): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        watch.close()
        reject(new Error(`no answer in ${PATIENCE_MS} ms`))
      }, PATIENCE_MS)
      const watch = reactor().watch(this.fd, interest, () => {
        clearTimeout(timer)
        watch.close()
        resolve()
      })
    })
  }
}

/** A reply that says all is well. */
export function assertSuccess(reply: RawReply): void {
  assert.deepEqual({ flags: reply.flags, error: reply.error }, { flags: SUCCESS, error: 0 })
}

/** An error reply: the header alone (section 3), with this errno. */
export function assertRefused(reply: RawReply, errno: Errno): void {
  const { size, flags, error } = reply
  assert.deepEqual({ size, flags, error }, { size: 16, flags: FAILURE, error: ERRNO[errno] })
}
