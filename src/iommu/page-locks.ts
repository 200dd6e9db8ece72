/**
 * The pages that this process keeps in memory for its clients, whoever pins them and however often.
 *
 * A lock that ends inside a mapping splits it, and a process gets only so many (vm.max_map_count, 65530): V8 and malloc need
 * some too, and end the process when they get none. So there is a most of runs of locked pages.
 */
import assert from 'node:assert/strict'
import { ErrnoError } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import { Unwind } from '../lib/unwind.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { lockPages, unlockPages } from '../os/mlock.ts'
import { PageCounts, type PageRun, pagesOf } from './page-counts.ts'
import type { PinnablePiece } from './pinnable.ts'

/** Most runs of locked pages. Each makes at most two mappings more, so this is a quarter of what Linux allows. */
export const MAX_LOCKED_RUNS = 8192

interface LockedPiece {
  /** By page of the piece; one that lingers has 1. */
  readonly counts: PageCounts
  /** Pages that nobody wants any more, still locked because unlocking them would split a run when there are too many. */
  readonly lingering: Set<number>
}

export class PageLocks {
  readonly #maxRuns: number
  /** By address. */
  readonly #pieces = new Map<number, LockedPiece>()
  #runs = 0

  /** @param maxRuns most runs of locked pages that may lie apart from each other */
  constructor(maxRuns = MAX_LOCKED_RUNS) {
    this.#maxRuns = maxRuns
  }

  /** Pages that are locked. */
  get pages(): number {
    let sum = 0
    for (const { counts } of this.#pieces.values()) sum += counts.pages
    return sum
  }

  /** Runs of locked pages with others between them. */
  get runs(): number {
    return this.#runs
  }

  /**
   * Locks pages of a piece, each of which needs its {@link unlock} before the piece is unmapped.
   *
   * @param first page of the piece
   * @throws ENOMEM too many runs · what {@link lockPages} throws; nothing is locked then
   */
  lock(piece: PinnablePiece, first: number, count: number): void {
    const locked = this.#pieces.get(piece.address) ?? newPiece()
    const fresh = locked.counts.add(first, count)
    try {
      this.#lockRuns(piece, locked, fresh)
    } catch (error) {
      locked.counts.subtract(first, count)
      throw error
    }
    this.#pieces.set(piece.address, locked)
    for (let page = first; locked.lingering.size > 0 && page < first + count; page++) {
      if (locked.lingering.delete(page)) locked.counts.subtract(page, 1) // somebody wants it again
    }
  }

  /** Takes back one lock. */
  unlock(piece: PinnablePiece, first: number, count: number): void {
    const locked = this.#pieces.get(piece.address)
    assert(locked !== undefined, `unlock ${hex(piece.address)}: nothing is locked there`)
    for (const run of locked.counts.subtract(first, count)) this.#unlockRun(piece, locked, run)
    if (locked.counts.pages === 0) this.#pieces.delete(piece.address)
  }

  #lockRuns(piece: PinnablePiece, locked: LockedPiece, fresh: readonly PageRun[]): void {
    const more = fresh.reduce((sum, run) => sum + 1 - neighbours(locked, run), 0)
    if (more > 0 && this.#runs + more > this.#maxRuns) {
      throw new ErrnoError(
        'ENOMEM',
        `lock ${bytes(pagesOf(fresh) * PAGE_SIZE)}: ${this.#maxRuns} runs of locked pages that lie apart are the most`,
      )
    }
    using undo = new Unwind()
    for (const run of fresh) {
      lockPages(...memoryOf(piece, run))
      undo.defer(() => unlockPages(...memoryOf(piece, run)))
    }
    undo.keep()
    this.#runs += more
  }

  #unlockRun(piece: PinnablePiece, locked: LockedPiece, { first, count }: PageRun): void {
    const { counts, lingering } = locked
    let start = first
    let end = first + count
    while (lingering.delete(start - 1)) counts.subtract(--start, 1)
    while (lingering.delete(end)) counts.subtract(end++, 1)
    const run = { first: start, count: end - start }
    const around = neighbours(locked, run)
    const isTooMuch = around === 2 && this.#runs >= this.#maxRuns // it would split a run
    if (isTooMuch || (!unlockPages(...memoryOf(piece, run)) && around > 0)) {
      // It goes with one of the neighbours: nothing lingers without them.
      counts.add(start, run.count)
      for (let page = start; page < end; page++) lingering.add(page)
    } else this.#runs += around - 1
  }
}

/** Those of this process. */
export const processLocks = new PageLocks()

function newPiece(): LockedPiece {
  return { counts: new PageCounts(), lingering: new Set() }
}

/** How many of the two pages beside a run are locked. */
function neighbours({ counts }: LockedPiece, { first, count }: PageRun): number {
  return Number(counts.has(first - 1)) + Number(counts.has(first + count))
}

/** Address and length. */
function memoryOf(piece: PinnablePiece, { first, count }: PageRun): [number, number] {
  return [piece.address + first * PAGE_SIZE, count * PAGE_SIZE]
}
