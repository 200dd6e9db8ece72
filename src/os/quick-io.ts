/**
 * File requests that are likely to end at once are tried at once: what the page cache holds is read, and what it takes is
 * written, in less time than it takes to hand a request to somebody else (a few us against 20 to 90).
 *
 * A read never waits for the disk. A write may, when the kernel holds back who writes too much: after one that waited long,
 * writes are left to others for a while. One that took long because another thread had our processor has not waited.
 */
import { constants } from 'node:os'
import { Iovec } from '../abi/socket.ts'
import { waits } from './context-switches.ts'
import { cFunction, lastErrno, permanent, bytesAt } from './ffi.ts'
import type { FileRequest } from './file-request.ts'

/** Most bytes that are moved at once: some 40 us of copying. */
const MAX_BYTES = 256 * 1024
const MAX_VECTORS = 128
/** Most that is moved in a row, bytes, each request counted as so many more: some 0.5 ms. What is left then is for others. */
const TURN_BYTES = 4 * 1024 * 1024
const REQUEST_BYTES = 32 * 1024
/** Longest that a write may wait, ms. */
const SLOW_MS = 1
/** How long others get the writes then, ms. */
const REST_MS = 100
/** Most reads in a row that are not tried, after ones that the page cache did not hold. */
const MAX_SKIPPED = 64
/** <linux/fs.h>: EAGAIN rather than waiting. */
const RWF_NOWAIT = 0x8

const { EAGAIN, EOPNOTSUPP, EINVAL } = constants.errno

const preadv2 = cFunction('preadv2', 'size', ['int', 'ptr', 'int', 'size', 'int'])
const pwritev = cFunction('pwritev', 'size', ['int', 'ptr', 'int', 'size'])

export class QuickIo {
  readonly #address = permanent(MAX_VECTORS * Iovec.size)
  readonly #vectors = new DataView(bytesAt(this.#address, MAX_VECTORS * Iovec.size))
  readonly #vector = Iovec.view()
  /** Bytes of this turn that are left. */
  #left = 0
  #restUntil = 0
  /** How often this thread had waited before the writes of this turn; unknown before the first. */
  #waits: number | undefined
  /** Reads to be left to others, now and after the next miss. */
  #skip = 0
  #skipNext = 1
  readonly #now: () => number
  readonly #countWaits: () => number

  /** @param now ms · @param countWaits of this thread */
  constructor(now: () => number = () => performance.now(), countWaits: () => number = waits) {
    this.#now = now
    this.#countWaits = countWaits
  }

  /** Others have had their turn. */
  beginTurn(): void {
    this.#left = TURN_BYTES
    this.#waits = undefined
  }

  /** Carries out a request, if that can be done now. @returns what {@link FileRequest.done} is told, undefined where not */
  attempt(request: FileRequest): number | undefined {
    const { operation, cached, length, pieces } = request
    if (!cached || length > MAX_BYTES || pieces > MAX_VECTORS || this.#left <= 0) return undefined
    if (operation !== 'read' && operation !== 'write') return undefined
    const result = operation === 'read' ? this.#read(request) : this.#write(request)
    if (result !== undefined) this.#left -= REQUEST_BYTES + length
    return result
  }

  #read(request: FileRequest): number | undefined {
    if (this.#skip > 0) {
      this.#skip--
      return undefined
    }
    const count = this.#fill(request)
    const result = preadv2(request.fd, this.#address, count, request.position, RWF_NOWAIT)
    if (result >= 0) {
      this.#skipNext = 1
      return result
    }
    const errno = lastErrno()
    if (errno !== EAGAIN && errno !== EOPNOTSUPP && errno !== EINVAL) return -errno
    this.#skip = this.#skipNext
    this.#skipNext = Math.min(MAX_SKIPPED, this.#skipNext * 2)
    return undefined
  }

  #write(request: FileRequest): number | undefined {
    const began = this.#now()
    if (began < this.#restUntil) return undefined
    this.#waits ??= this.#countWaits()
    const result = pwritev(request.fd, this.#address, this.#fill(request), request.position)
    const errno = result < 0 ? lastErrno() : 0
    const now = this.#now()
    if (now - began > SLOW_MS && this.#countWaits() > this.#waits) this.#restUntil = now + REST_MS
    return result < 0 ? -errno : result
  }

  #fill(request: FileRequest): number {
    const count = request.pieces
    for (let i = 0; i < count; i++) {
      const vector = this.#vector.aim(this.#vectors, i * Iovec.size)
      vector.iov_base = request.addressAt(i)
      vector.iov_len = request.lengthAt(i)
    }
    return count
  }
}
