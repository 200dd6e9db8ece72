/** Reference counts of pages: how often each is in use. Sparse, in chunks that are made where something is in use. */
import assert from 'node:assert/strict'

/** Neighbouring pages. */
export interface PageRun {
  readonly first: number
  readonly count: number
}

/** Pages of one chunk, a power of two: half a KiB of counts for half a MiB of memory. */
const CHUNK_PAGES = 128

interface Chunk {
  readonly counts: Uint32Array
  /** Pages in use. */
  used: number
}

export class PageCounts {
  readonly #chunks = new Map<number, Chunk>()
  #pages = 0

  /** Pages in use. */
  get pages(): number {
    return this.#pages
  }

  has(page: number): boolean {
    const chunk = this.#chunks.get(Math.floor(page / CHUNK_PAGES))
    return chunk !== undefined && chunk.counts[page & (CHUNK_PAGES - 1)] !== 0
  }

  /** Uses each page once more. @returns those that were not in use before, in order, as few runs as can be */
  add(first: number, count: number): PageRun[] {
    return this.#forEach(first, count, (chunk, at) => {
      const fresh = chunk.counts[at]!++ === 0
      if (fresh) chunk.used++
      return fresh
    })
  }

  /** Uses each page, all of which are in use, once less. @returns those that no longer are, as {@link add} does */
  subtract(first: number, count: number): PageRun[] {
    return this.#forEach(first, count, (chunk, at) => {
      assert(chunk.counts[at] !== 0, 'page counts: one use less of a page that is not in use')
      const freed = --chunk.counts[at]! === 0
      if (freed) chunk.used--
      return freed
    })
  }

  /** @param change of one page; says whether that made the page's use begin or end */
  #forEach(first: number, count: number, change: (chunk: Chunk, at: number) => boolean): PageRun[] {
    const runs: PageRun[] = []
    const end = first + count
    let start = -1 // of the run at hand
    for (let page = first; page < end;) {
      const index = Math.floor(page / CHUNK_PAGES)
      const chunk = this.#chunks.get(index) ?? { counts: new Uint32Array(CHUNK_PAGES), used: 0 }
      const { used } = chunk
      const chunkEnd = Math.min(end, (index + 1) * CHUNK_PAGES)
      for (; page < chunkEnd; page++) {
        const changed = change(chunk, page & (CHUNK_PAGES - 1))
        if (changed && start < 0) start = page
        if (!changed && start >= 0) {
          runs.push({ first: start, count: page - start })
          start = -1
        }
      }
      this.#pages += chunk.used - used
      if (chunk.used === 0) this.#chunks.delete(index)
      else if (used === 0) this.#chunks.set(index, chunk)
    }
    if (start >= 0) runs.push({ first: start, count: end - start })
    return runs
  }
}

/** Pages of all runs together. */
export function pagesOf(runs: readonly PageRun[]): number {
  return runs.reduce((sum, { count }) => sum + count, 0)
}
