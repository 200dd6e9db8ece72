/** The pins of one container: pages that a driver holds, each charged, locked, and let go again. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { Unwind } from '../lib/unwind.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import type { LockAccount } from './lock-account.ts'
import type { PageLocks } from './page-locks.ts'
import {
  describePages,
  HeldPin,
  type Pin,
  type PinAccess,
  type PinPart,
  reads,
  writes,
} from './pin.ts'
import type { PinnableMap, PinSpace } from './pinnable.ts'

/** Most pages of one pin, as Linux has it (VFIO_PIN_PAGES_MAX_ENTRIES). */
export const MAX_PIN_PAGES = 512

/** Who pays for what is locked. */
export interface PinAccounts {
  readonly client: LockAccount
  readonly parent: LockAccount
}

export class PinTable {
  readonly #space: PinSpace
  readonly #locks: PageLocks
  readonly #accounts: PinAccounts
  /** Those with pages in a map, by where it starts. */
  readonly #byMap = new Map<number, Set<HeldPin>>()

  /** @param locks of this process, shared by all containers */
  constructor(space: PinSpace, locks: PageLocks, accounts: PinAccounts) {
    this.#space = space
    this.#locks = locks
    this.#accounts = accounts
  }

  /**
   * Pins pages. Those that are pinned already are neither charged nor locked once more, and stay until each pin has gone.
   *
   * All or nothing: what is refused has changed nothing.
   *
   * @param iova  bytes, page aligned
   * @param pages from 1 to {@link MAX_PIN_PAGES}, which may lie in several maps
   * @throws EINVAL unaligned, no pages, or not all mapped · E2BIG too many pages · EPERM a map does not grant the access ·
   *         EOPNOTSUPP memory that is not mapped here · ENOMEM beyond a limit, or no memory · ENODEV the client's process has
   *         gone · what viewing the memory throws
   * @see Linux, vfio_pin_pages; it takes unaligned IOVAs, and counts each once more
   */
  pin(iova: number, pages: number, access: PinAccess): Pin {
    checkPages(iova, pages)
    const parts = this.#partsOf(iova, pages, access)
    using undo = new Unwind()
    for (const part of parts) {
      this.#take(part)
      undo.defer(() => this.#giveBack(part))
    }
    const views = parts.flatMap((part) => this.#space.views(part.iova, part.pages * PAGE_SIZE))
    undo.keep()
    const pin = new HeldPin({ iova, pages, access }, parts, views, (held) => this.#letGo(held))
    for (const { mapIova } of parts) {
      const pins = this.#byMap.get(mapIova)
      if (pins === undefined) this.#byMap.set(mapIova, new Set([pin]))
      else pins.add(pin)
    }
    return pin
  }

  /** Pins with pages in a map. @param mapIova where the map starts, as for all below */
  pinsIn(mapIova: number): number {
    return this.#byMap.get(mapIova)?.size ?? 0
  }

  /** Takes the pins with pages in a map away, all of each, because the map goes. @returns how many */
  release(mapIova: number): number {
    const pins = [...(this.#byMap.get(mapIova) ?? [])]
    for (const pin of pins) pin.unpin()
    return pins.length
  }

  /** Takes all pins away. @returns how many */
  releaseAll(): number {
    let count = 0
    for (const mapIova of this.#byMap.keys()) count += this.release(mapIova)
    return count
  }

  /** Tells the runs of a map's pages that the device may be writing now: some perhaps more than once. */
  forEachWritable(mapIova: number, tell: (iova: number, length: number) => void): void {
    for (const pin of this.#byMap.get(mapIova) ?? []) {
      if (!writes(pin.access)) continue
      for (const part of pin.parts) {
        if (part.mapIova === mapIova) tell(part.iova, part.pages * PAGE_SIZE)
      }
    }
  }

  /** @throws EINVAL, EPERM, EOPNOTSUPP, as {@link pin} */
  #partsOf(iova: number, pages: number, access: PinAccess): PinPart[] {
    const parts: PinPart[] = []
    const end = iova + pages * PAGE_SIZE
    for (let at = iova; at < end;) {
      const map = this.#space.find(at)
      if (map === undefined)
        throw new ErrnoError(
          'EINVAL',
          `pin ${describePages(iova, pages)}: ${hex(at)} is not mapped`,
        )
      if ((reads(access) && !map.readable) || (writes(access) && !map.writable))
        throw new ErrnoError(
          'EPERM',
          `pin ${describePages(iova, pages)}: the map at ${hex(map.iova)} does not grant ${access}`,
        )
      const part = partOf(map, at, end)
      parts.push(part)
      at += part.pages * PAGE_SIZE
    }
    return parts
  }

  #take(part: PinPart): void {
    const { client, parent } = this.#accounts
    const { identity, filePage, pages, piece, piecePage, exempt } = part
    using undo = new Unwind()
    client.charge(identity, filePage, pages, exempt)
    undo.defer(() => client.uncharge(identity, filePage, pages))
    parent.charge(identity, filePage, pages)
    undo.defer(() => parent.uncharge(identity, filePage, pages))
    this.#locks.lock(piece, piecePage, pages)
    undo.keep()
  }

  #giveBack({ identity, filePage, pages, piece, piecePage }: PinPart): void {
    this.#locks.unlock(piece, piecePage, pages)
    this.#accounts.parent.uncharge(identity, filePage, pages)
    this.#accounts.client.uncharge(identity, filePage, pages)
  }

  #letGo(pin: HeldPin): void {
    for (const part of pin.parts) {
      if (writes(pin.access)) this.#space.wrote(part.iova, part.pages * PAGE_SIZE)
      this.#giveBack(part)
      const pins = this.#byMap.get(part.mapIova)
      pins?.delete(pin)
      if (pins?.size === 0) this.#byMap.delete(part.mapIova)
    }
  }
}

function checkPages(iova: number, pages: number): void {
  if (pages > MAX_PIN_PAGES)
    throw new ErrnoError(
      'E2BIG',
      `pin ${describePages(iova, pages)}: ${MAX_PIN_PAGES} pages are the most`,
    )
  if (!Number.isInteger(pages) || pages <= 0 || !(iova >= 0) || iova % PAGE_SIZE !== 0)
    throw new ErrnoError('EINVAL', `pin ${describePages(iova, pages)}: not whole pages`)
  if (!Number.isSafeInteger(iova + pages * PAGE_SIZE))
    throw new ErrnoError('EINVAL', `pin ${describePages(iova, pages)}: wraps`)
}

/** The part of a map from `iova` on, up to `end` or where its piece ends. @throws EOPNOTSUPP */
function partOf(map: PinnableMap, iova: number, end: number): PinPart {
  if (map.backing === undefined) {
    throw new ErrnoError(
      'EOPNOTSUPP',
      `pin at ${hex(iova)}: this memory came without a file, or can shrink, so it is not mapped`,
    )
  }
  const { file, offset } = map.backing
  const at = offset + iova - map.iova
  const piece = file.pieceAt(at)
  const length = Math.min(end - iova, map.iova + map.size - iova, piece.offset + piece.length - at)
  return {
    mapIova: map.iova,
    iova,
    pages: length / PAGE_SIZE,
    identity: file.identity,
    filePage: at / PAGE_SIZE,
    piece,
    piecePage: (at - piece.offset) / PAGE_SIZE,
    exempt: map.lockExempt,
  }
}
