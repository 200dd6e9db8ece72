/**
 * The log of the pages that a device has written, for a client that copies its memory while the device runs.
 *
 * Writes that go by message are not in it: the client itself does these. Views, pins and file I/O may write at any time
 * while they are held: their pages count as written in every report, and in one more after they were released.
 */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { HeldPages } from './held-pages.ts'
import { PageSet } from './page-set.ts'

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
  /** Pages that the device may write now, whether or not the log was on when that began. */
  readonly #held = new HeldPages()
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

  /** The device may write here from now on; pairs with {@link release}, of which there may be many. */
  hold(iova: number, length: number): void {
    this.#held.add(iova, length)
  }

  /** The device, for one hold of this range, writes here no more. */
  release(iova: number, length: number): void {
    this.#held.remove(iova, length)
    this.wrote(iova, length)
  }

  /** The client has unmapped this; what was held is no more, and is not to be released. */
  forget(iova: number, length: number): void {
    this.#held.delete(iova, length)
    this.#written?.delete(iova, length)
  }

  /** The client has unmapped everything. */
  forgetAll(): void {
    this.#held.clear()
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
      this.#held.copyTo(bitmap, iova, pageSize, from, to)
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
