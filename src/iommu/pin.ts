/** One pin: pages that a driver holds. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { pageFrames } from '../os/page-frames.ts'
import type { PinnablePiece } from './pinnable.ts'

/** What the device will do with the pages. */
export type PinAccess = 'read' | 'write' | 'read-write'

/** Pages that stay where they are, in memory, until they are unpinned or the client unmaps them. */
export interface Pin {
  /** Bytes, page aligned. */
  readonly iova: number
  readonly pages: number
  readonly access: PinAccess
  /** Whether the pages are pinned still: neither unpinned, nor taken away because they were unmapped. */
  readonly held: boolean
  /** The memory, in order: one view for each map that the pages lie in, or more where one is mapped here in pieces. */
  readonly views: readonly Uint8Array[]
  /**
   * Page frame numbers in the memory of the host as they are now, one a page; 0 where the client has punched a hole.
   *
   * @returns undefined where this process may not know them: it takes CAP_SYS_ADMIN
   * @throws EINVAL not held
   */
  frames(): readonly number[] | undefined
  /** Lets the pages go. @throws EINVAL not held */
  unpin(): void
}

/** Pages of a pin that are neighbours everywhere: in IOVA, in their map, in its file, and in this process. */
export interface PinPart {
  /** Where their map starts: what tells it from the others. */
  readonly mapIova: number
  readonly iova: number
  readonly pages: number
  readonly identity: string
  /** First page, in the file and in the piece. */
  readonly filePage: number
  readonly piece: PinnablePiece
  readonly piecePage: number
  readonly exempt: boolean
}

export class HeldPin implements Pin {
  readonly iova: number
  readonly pages: number
  readonly access: PinAccess
  readonly parts: readonly PinPart[]
  readonly views: readonly Uint8Array[]
  readonly #letGo: (pin: HeldPin) => void
  #held = true

  constructor(
    { iova, pages, access }: Pick<Pin, 'iova' | 'pages' | 'access'>,
    parts: readonly PinPart[],
    views: readonly Uint8Array[],
    letGo: (pin: HeldPin) => void,
  ) {
    this.iova = iova
    this.pages = pages
    this.access = access
    this.parts = parts
    this.views = views
    this.#letGo = letGo
  }

  get held(): boolean {
    return this.#held
  }

  frames(): readonly number[] | undefined {
    this.#checkHeld('frames')
    const all: number[] = []
    for (const { piece, piecePage, pages } of this.parts) {
      const frames = pageFrames(piece.address + piecePage * PAGE_SIZE, pages)
      if (frames === undefined) return undefined
      all.push(...frames)
    }
    return all
  }

  unpin(): void {
    this.#checkHeld('unpin')
    this.#held = false
    this.#letGo(this)
  }

  #checkHeld(what: string): void {
    if (!this.#held)
      throw new ErrnoError('EINVAL', `${what} ${describePages(this.iova, this.pages)}: not pinned`)
  }
}

export function reads(access: PinAccess): boolean {
  return access !== 'write'
}

export function writes(access: PinAccess): boolean {
  return access !== 'read'
}

/** For messages. */
export function describePages(iova: number, pages: number): string {
  return `${hex(iova)}+${pages} pages`
}
