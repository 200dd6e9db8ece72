/** Whom locked pages are charged to: one client process, or one parent. */
import { ErrnoError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { PageCounts, pagesOf } from './page-counts.ts'

/** How much one may have locked. It is asked whenever pages are to be charged. */
export interface LockLimit {
  /** What sets it, for messages: `RLIMIT_MEMLOCK`. */
  readonly name: string
  /** Infinity where there is none. */
  bytes(): number
  /** What counts against it besides what is charged: bytes that the process has locked itself. */
  lockedElsewhere(): number
}

/** A limit that somebody has configured. */
export function fixedLimit(name: string, limit: number): LockLimit {
  return { name, bytes: () => limit, lockedElsewhere: () => 0 }
}

/** A page of a file counts once, by whatever iova, container and mdev it is locked. */
export class LockAccount {
  readonly #name: string
  readonly #limit: LockLimit
  readonly #files = new Map<string, PageCounts>()
  #pages = 0

  /** @param name whose it is, for messages: `pid 4711 (qemu-system-x86)` */
  constructor(name: string, limit: LockLimit) {
    this.#name = name
    this.#limit = limit
  }

  /** Pages that are charged. */
  get pages(): number {
    return this.#pages
  }

  /**
   * Charges pages of a file, each of which needs its {@link uncharge}.
   *
   * @param identity of the file
   * @param exempt   whether they are only counted
   * @throws ENOMEM beyond the limit · what asking for the limit throws; nothing is charged then
   */
  charge(identity: string, first: number, count: number, exempt = false): void {
    const counts = this.#files.get(identity) ?? new PageCounts()
    const fresh = pagesOf(counts.add(first, count))
    try {
      if (fresh > 0 && !exempt) this.#check(fresh * PAGE_SIZE)
    } catch (error) {
      counts.subtract(first, count)
      throw error
    }
    this.#files.set(identity, counts)
    this.#pages += fresh
  }

  /** Takes back one charge. */
  uncharge(identity: string, first: number, count: number): void {
    const counts = this.#files.get(identity) ?? new PageCounts()
    this.#pages -= pagesOf(counts.subtract(first, count))
    if (counts.pages === 0) this.#files.delete(identity)
  }

  #check(more: number): void {
    const limit = this.#limit.bytes()
    if (limit === Infinity) return
    const locked = this.#pages * PAGE_SIZE + this.#limit.lockedElsewhere()
    if (locked + more > limit) {
      throw new ErrnoError(
        'ENOMEM',
        `${this.#name}: has ${bytes(locked)} locked and wants ${bytes(more)} more, ${bytes(limit)} is its limit (${this.#limit.name})`,
      )
    }
  }
}
