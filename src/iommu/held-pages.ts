/** How often each page is held, by IOVA: sparse, and of bounded size. */
import { PAGE_SIZE } from '../os/arena.ts'

/** Pages of one chunk: 32 KiB of counts for 128 MiB of memory. A power of two. */
const CHUNK_PAGES = 32_768
/** Most chunks, 32 MiB: a guest decides what its devices hold, and must not decide how much of ours that takes. */
const MAX_CHUNKS = 1024
/** A page that was held so often at once counts as held until it is deleted. */
const MANY = 255

interface Chunk {
  readonly counts: Uint8Array
  /** Pages of which the count is not 0. */
  held: number
}

/** Counts of pages. Where it grows too large, all pages are held from then on: what is too much is only copied. */
export class HeldPages {
  readonly #chunks = new Map<number, Chunk>()
  #all = false
  /** What the last chunk that nobody needed left, all 0: a transfer holds and releases over and over. */
  #spare: Uint8Array | undefined

  /** One more for the pages that these bytes touch. */
  add(iova: number, length: number): void {
    if (this.#all) return
    forEachRun(iova, length, (index, first, end) => {
      const chunk = this.#use(index)
      if (chunk === undefined) return
      const { counts } = chunk
      for (let i = first; i < end; i++) {
        const count = counts[i]!
        if (count === 0) chunk.held++
        if (count < MANY) counts[i] = count + 1
      }
    })
  }

  /** One less, for each {@link add} of the same bytes at most once. */
  remove(iova: number, length: number): void {
    forEachRun(iova, length, (index, first, end) => {
      const chunk = this.#chunks.get(index)
      if (chunk === undefined) return
      const { counts } = chunk
      for (let i = first; i < end; i++) {
        const count = counts[i]!
        if (count === 1) chunk.held--
        if (count > 0 && count < MANY) counts[i] = count - 1
      }
      if (chunk.held === 0) this.#drop(index, chunk)
    })
  }

  /** Takes out whole pages, however often they were added. */
  delete(iova: number, length: number): void {
    if (this.#chunks.size === 0) return
    forEachRun(iova, length, (index, first, end) => {
      const chunk = this.#chunks.get(index)
      if (chunk === undefined) return
      for (let i = first; i < end; i++) {
        if (chunk.counts[i] !== 0) chunk.held--
        chunk.counts[i] = 0
      }
      if (chunk.held === 0) this.#drop(index, chunk)
    })
  }

  clear(): void {
    this.#chunks.clear()
    this.#all = false
  }

  /** Sets the bits of the pages that are held in a bitmap, as `PageSet.copyTo` does. */
  copyTo(bitmap: Uint8Array, start: number, pageSize: number, from: number, to: number): void {
    forEachRun(from, to - from, (index, first, end) => {
      const counts = this.#chunks.get(index)?.counts
      if (counts === undefined && !this.#all) return
      for (let i = first; i < end; i++) {
        if (counts !== undefined && counts[i] === 0) continue
        const page = index * CHUNK_PAGES + i
        const bit = Math.floor((page * PAGE_SIZE - start) / pageSize)
        bitmap[bit >>> 3]! |= 1 << (bit & 7)
      }
    })
  }

  #drop(index: number, { counts }: Chunk): void {
    this.#chunks.delete(index)
    this.#spare = counts
  }

  /** @returns undefined when there would be too many: now all pages are held */
  #use(index: number): Chunk | undefined {
    let chunk = this.#chunks.get(index)
    if (chunk === undefined && this.#chunks.size >= MAX_CHUNKS) {
      this.clear()
      this.#all = true
    } else if (chunk === undefined && !this.#all) {
      chunk = { counts: this.#spare ?? new Uint8Array(CHUNK_PAGES), held: 0 }
      this.#spare = undefined
      this.#chunks.set(index, chunk)
    }
    return chunk
  }
}

/** The pages that some bytes touch, chunk by chunk: from `first` in chunk `index` up to `end`. */
function forEachRun(
  iova: number,
  length: number,
  run: (index: number, first: number, end: number) => void,
): void {
  if (length <= 0) return
  const last = Math.floor((iova + length - 1) / PAGE_SIZE) + 1
  for (let page = Math.floor(iova / PAGE_SIZE); page < last;) {
    const index = Math.floor(page / CHUNK_PAGES)
    const first = page - index * CHUNK_PAGES
    const end = Math.min(CHUNK_PAGES, first + last - page)
    run(index, first, end)
    page += end - first
  }
}
