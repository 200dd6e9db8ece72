/**
 * File requests that are likely to end at once are tried at once: what the page cache holds is read, and what it takes is
 * written, in less time than it takes to hand a request to somebody else (a few us against 20 to 90).
 *
 * A read never waits for the disk. A write may, when the kernel holds back who writes too much: after one that took long,
 * writes are left to others for a while.
 */
import { constants } from 'node:os'
import { Iovec } from '../abi/socket.ts'
import { cFunction, lastErrno, permanent, bytesAt } from './ffi.ts'
import type { FileRequest } from './file-request.ts'

/** Most bytes that are moved at once: some 40 us of copying. */
const MAX_BYTES = 256 * 1024
const MAX_VECTORS = 128
/** Longest time that is spent on it in a row, ms; what is left then is for others. */
const TURN_MS = 0.5
/** A write that took longer than this, ms, has waited. */
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
  #turnEnds = 0
  #restUntil = 0
  /** Reads to be left to others, now and after the next miss. */
  #skip = 0
  #skipNext = 1

  /** Some requests come together. */
  beginTurn(): void {
    this.#turnEnds = performance.now() + TURN_MS
  }

  /** Carries out a request, if that can be done now. @returns what {@link FileRequest.done} is told, undefined where not */
  attempt(request: FileRequest): number | undefined {
    const { operation } = request
    if (!request.cached || request.length > MAX_BYTES || request.pieces > MAX_VECTORS)
      return undefined
    if (operation === 'read') return this.#read(request)
    return operation === 'write' ? this.#write(request) : undefined
  }

  #read(request: FileRequest): number | undefined {
    if (this.#skip > 0) {
      this.#skip--
      return undefined
    }
    if (performance.now() > this.#turnEnds) return undefined
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
    const began = performance.now()
    if (began > this.#turnEnds || began < this.#restUntil) return undefined
    const result = pwritev(request.fd, this.#address, this.#fill(request), request.position)
    const errno = result < 0 ? lastErrno() : 0
    const now = performance.now()
    if (now - began > SLOW_MS) this.#restUntil = now + REST_MS
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
