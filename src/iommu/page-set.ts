/** Sets of pages by IOVA: sparse, and of bounded size. */
import { PAGE_SIZE } from '../os/arena.ts'

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
