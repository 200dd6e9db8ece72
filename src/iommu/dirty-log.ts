/**
 * The log of the pages that a device has written, for a client that copies its memory while the device runs.
 *
 * Writes that go by message are not in it: the client itself does these. A view may be written at any time after it was
 * taken, and nobody tells us when: its pages count as written in every report, until they are unmapped.
 */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'

/** Most ranges of one log, as Linux has it (LOG_MAX_RANGES). */
export const MAX_LOG_RANGES = 256

/** A run of IOVA. */
export interface IovaRange {
  /** Bytes, whole pages. */
  readonly iova: number
  readonly length: number
}

/** Bytes of the bitmap of a range: one bit a page, in whole u64 words. @see vfio-user protocol, DMA_LOGGING_REPORT */
export function bitmapSize(length: number, pageSize: number): number {
  return Math.ceil(Math.ceil(length / pageSize) / 64) * 8
}

/** @throws EINVAL no power of two, or less than `least`: pages of 4096 bytes are what is logged */
export function checkLogPageSize(pageSize: number, least = PAGE_SIZE): void {
  const isPowerOfTwo = 2 ** Math.round(Math.log2(pageSize)) === pageSize
  if (!isPowerOfTwo || pageSize < least) {
    throw new ErrnoError(
      'EINVAL',
      `dirty pages of ${hex(pageSize)} bytes: not a power of two from ${hex(least)} on`,
    )
  }
}

export class DirtyLog {
  /** Pages that a view was taken of, whether or not the log was on then. */
  readonly #viewed = new PageSet()
  /** Undefined while the log is off. */
  #written: PageSet | undefined
  /** Sorted; what the client wants to know of. None means all. */
  #ranges: readonly IovaRange[] = []

  get isOn(): boolean {
    return this.#written !== undefined
  }

  /**
   * Starts with an empty log.
   *
   * @param ranges   what to report; none means all
   * @param pageSize what the client would like to have logged; ranges are aligned to it, and to pages of ours
   * @throws EINVAL it is on already; bad page size; ranges that are empty, unaligned, wrap, overlap, or are too many
   */
  start(ranges: readonly IovaRange[], pageSize: number): void {
    if (this.isOn) throw new ErrnoError('EINVAL', 'dirty log: on already')
    checkLogPageSize(pageSize, 1)
    this.#ranges = checkedRanges(ranges, Math.max(pageSize, PAGE_SIZE))
    this.#written = new PageSet()
  }

  /** Idempotent. */
  stop(): void {
    this.#written = undefined
    this.#ranges = []
  }

  /** The device writes here, now. */
  wrote(iova: number, length: number): void {
    if (this.#written !== undefined) this.#written.add(iova, length)
  }

  /** The device may write here from now on. */
  viewed(iova: number, length: number): void {
    this.#viewed.add(iova, length)
  }

  /** The client has unmapped this. */
  forget(iova: number, length: number): void {
    this.#viewed.delete(iova, length)
    this.#written?.delete(iova, length)
  }

  /** The client has unmapped everything. */
  forgetAll(): void {
    this.#viewed.clear()
    this.#written?.clear()
  }

  /**
   * Sets the bits of the pages of a range that were written since the last report of it, and forgets them.
   *
   * @param bitmap of {@link bitmapSize}, zeroed; bit n, LSB first, stands for page n from `iova` on
   * @throws EINVAL the log is off
   */
  report(iova: number, length: number, pageSize: number, bitmap: Uint8Array): void {
    if (this.#written === undefined) throw logIsOff()
    const end = iova + length
    const ranges = this.#ranges.length === 0 ? [{ iova, length }] : this.#ranges
    for (const range of ranges) {
      const from = Math.max(iova, range.iova)
      const to = Math.min(end, range.iova + range.length)
      if (from >= to) continue
      this.#written.copyTo(bitmap, iova, pageSize, from, to)
      this.#viewed.copyTo(bitmap, iova, pageSize, from, to)
    }
    this.#written.delete(iova, length)
  }
}

export function logIsOff(): ErrnoError {
  return new ErrnoError('EINVAL', 'dirty log: off')
}

function checkedRanges(ranges: readonly IovaRange[], pageSize: number): readonly IovaRange[] {
  if (ranges.length > MAX_LOG_RANGES) {
    throw new ErrnoError(
      'EINVAL',
      `dirty log: ${ranges.length} ranges, ${MAX_LOG_RANGES} are the most`,
    )
  }
  const sorted = ranges.toSorted((a, b) => a.iova - b.iova)
  let last = 0
  for (const { iova, length } of sorted) {
    const what = `dirty log of ${hex(iova)}+${hex(length)}`
    if (length === 0 || iova % pageSize !== 0 || length % pageSize !== 0)
      throw new ErrnoError('EINVAL', `${what}: not whole pages of ${hex(pageSize)}`)
    if (!Number.isSafeInteger(iova + length)) throw new ErrnoError('EINVAL', `${what}: wraps`)
    if (iova < last) throw new ErrnoError('EINVAL', `${what}: overlaps another range`)
    last = iova + length
  }
  return sorted
}

/** Pages of one chunk: 4 KiB of bits for 128 MiB of memory. A power of two. */
const CHUNK_PAGES = 32_768
/** Most chunks of one set, 16 MiB: a guest decides where its devices write, and must not decide how much of ours that takes. */
const MAX_CHUNKS = 4096

/** A set of pages by IOVA, sparse. One that grows too large has all pages from then on: what is too much is only copied. */
export class PageSet {
  readonly #chunks = new Map<number, Uint8Array>()
  /** The chunk that was used last. */
  #index = -1
  #chunk: Uint8Array = NO_CHUNK
  #all = false

  /** Adds the pages that these bytes touch. */
  add(iova: number, length: number): void {
    if (length <= 0 || this.#all) return
    const end = Math.floor((iova + length - 1) / PAGE_SIZE) + 1
    for (let page = Math.floor(iova / PAGE_SIZE); page < end;) {
      const first = page & (CHUNK_PAGES - 1)
      const count = Math.min(end - page, CHUNK_PAGES - first)
      const index = Math.floor(page / CHUNK_PAGES)
      if (index !== this.#index && !this.#use(index)) return
      setBits(this.#chunk, first, count)
      page += count
    }
  }

  /** Takes out whole pages. */
  delete(iova: number, length: number): void {
    if (this.#chunks.size === 0) return
    const end = (iova + length) / PAGE_SIZE
    for (let page = iova / PAGE_SIZE; page < end;) {
      const first = page & (CHUNK_PAGES - 1)
      const count = Math.min(end - page, CHUNK_PAGES - first)
      const index = Math.floor(page / CHUNK_PAGES)
      if (count === CHUNK_PAGES) this.#drop(index)
      else clearBits(this.#chunks.get(index) ?? NO_CHUNK, first, count)
      page += count
    }
  }

  clear(): void {
    this.#chunks.clear()
    this.#index = -1
    this.#all = false
  }

  /**
   * Sets the bits of this set's pages in a bitmap.
   *
   * @param start of the bitmap, IOVA
   * @param pageSize of the bitmap
   * @param from  which pages, IOVA, whole pages of ours, up to `to`
   */
  copyTo(bitmap: Uint8Array, start: number, pageSize: number, from: number, to: number): void {
    if (this.#all) {
      const first = Math.floor((from - start) / pageSize)
      setBits(bitmap, first, Math.ceil((to - start) / pageSize) - first)
      return
    }
    if (this.#chunks.size === 0) return
    const end = to / PAGE_SIZE
    for (let page = from / PAGE_SIZE; page < end;) {
      const first = page & (CHUNK_PAGES - 1)
      const count = Math.min(end - page, CHUNK_PAGES - first)
      const chunk = this.#chunks.get(Math.floor(page / CHUNK_PAGES))
      if (chunk !== undefined) {
        for (let i = first; i < first + count; i++) {
          const byte = chunk[i >>> 3] ?? 0
          if (byte === 0) i |= 7 // none of these eight
          else if ((byte & (1 << (i & 7))) !== 0) {
            const bit = Math.floor(((page + i - first) * PAGE_SIZE - start) / pageSize)
            bitmap[bit >>> 3]! |= 1 << (bit & 7)
          }
        }
      }
      page += count
    }
  }

  /** Makes `index` the chunk that is used. @returns false when there would be too many: now all pages are in the set */
  #use(index: number): boolean {
    let chunk = this.#chunks.get(index)
    if (chunk === undefined) {
      if (this.#chunks.size >= MAX_CHUNKS) {
        this.clear()
        this.#all = true
        return false
      }
      chunk = new Uint8Array(CHUNK_PAGES / 8)
      this.#chunks.set(index, chunk)
    }
    this.#index = index
    this.#chunk = chunk
    return true
  }

  #drop(index: number): void {
    this.#chunks.delete(index)
    if (this.#index === index) this.#index = -1
  }
}

const NO_CHUNK = new Uint8Array(0)

function setBits(bytes: Uint8Array, first: number, count: number): void {
  let bit = first
  const end = first + count
  while (bit < end) {
    if ((bit & 7) === 0 && end - bit >= 8) {
      const whole = Math.floor((end - bit) / 8)
      bytes.fill(0xff, bit / 8, bit / 8 + whole)
      bit += whole * 8
    } else {
      bytes[bit >>> 3]! |= 1 << (bit & 7)
      bit++
    }
  }
}

/** @param bytes none, where all bits are 0 */
function clearBits(bytes: Uint8Array, first: number, count: number): void {
  if (bytes.length === 0) return
  for (let bit = first; bit < first + count; bit++) bytes[bit >>> 3]! &= ~(1 << (bit & 7))
}
