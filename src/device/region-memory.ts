/** Memory behind a region: which of its bytes have some, and which pages of these a client may map. */
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import type { MemoryArea } from './registers.ts'
import { MemoryFile, type SharedMemory } from './shared-memory.ts'

/** Most areas of one region, so that a client's answer stays small. */
const MAX_AREAS = 256

/** Pages that a client may map. */
export interface MappableArea {
  /** In the region, bytes; like `size` a multiple of the page size, but for a region smaller than a page. */
  readonly offset: number
  readonly size: number
  readonly memory: MemoryFile
  /** Where they lie in the file. */
  readonly fileOffset: number
}

/** A run of bytes of one kind. */
export interface Part {
  readonly start: number
  readonly end: number
  /** Where `start` lies in `memory`. */
  readonly fileOffset: number
  /** Undefined where there are registers. */
  readonly memory: MemoryFile | undefined
  readonly view: DataView
}

export class RegionMemory {
  readonly #name: string
  readonly #size: number
  /** All of the region, in order. */
  #parts: readonly Part[]
  #mappable: readonly MappableArea[]

  /**
   * @param areas what has memory, all of the region unless given
   * @throws EINVAL memory of other make than ours, or too small; areas that are empty, overlap, are too many, or lie
   *         outside of the region
   */
  constructor(
    name: string,
    size: number,
    memory: SharedMemory,
    areas: readonly MemoryArea[] = [{ offset: 0, size }],
  ) {
    this.#name = name
    this.#size = size
    const backed = areas.map((area) => partOf(name, area, memory))
    backed.sort((a, b) => a.start - b.start)
    this.#parts = withGaps(name, size, backed)
    this.#mappable = this.#pagesOf(this.#parts)
  }

  /** In order, not overlapping, not touching where one area will do. */
  get mappable(): readonly MappableArea[] {
    return this.#mappable
  }

  /** What the byte at `offset` belongs to. */
  partAt(offset: number): Part {
    const parts = this.#parts
    let low = 0
    let high = parts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >>> 1
      if (parts[middle]!.start <= offset) low = middle
      else high = middle - 1
    }
    return parts[low]!
  }

  /**
   * Leaves bytes to the registers; their pages are not mapped any more.
   *
   * @throws EINVAL that makes too many areas
   */
  exclude(offset: number, size: number): void {
    const end = offset + size
    const backed = this.#parts
      .filter(({ memory }) => memory !== undefined)
      .flatMap((part) => [
        { ...part, end: Math.min(part.end, offset) },
        cutBefore(part, Math.max(part.start, end)),
      ])
      .filter((part) => part.start < part.end)
    const parts = withGaps(this.#name, this.#size, backed)
    this.#mappable = this.#pagesOf(parts)
    this.#parts = parts
  }

  /** The whole pages among the bytes that have memory. */
  #pagesOf(parts: readonly Part[]): readonly MappableArea[] {
    const areas: MappableArea[] = []
    for (const { start, end, fileOffset, memory } of parts) {
      if (memory === undefined) continue
      // A region smaller than a page is mapped with its page, if nothing else is in it.
      const isSmall = end - start === this.#size && memory.size === this.#size && end < PAGE_SIZE
      const from = Math.ceil(start / PAGE_SIZE) * PAGE_SIZE
      const to = isSmall ? end : Math.floor(end / PAGE_SIZE) * PAGE_SIZE
      const at = fileOffset + from - start
      if (from >= to || at % PAGE_SIZE !== 0) continue
      const last = areas.at(-1)
      const joins =
        last?.memory === memory &&
        last.offset + last.size === from &&
        last.fileOffset + last.size === at
      if (joins) areas.splice(-1, 1, { ...last, size: last.size + to - from })
      else areas.push({ offset: from, size: to - from, memory, fileOffset: at })
    }
    if (areas.length > MAX_AREAS) {
      throw new ErrnoError(
        'EINVAL',
        `${this.#name}: ${areas.length} areas, ${MAX_AREAS} are the most`,
      )
    }
    return areas
  }
}

/** Copies bytes of `part` that start at `offset` of the region. */
export function readPart(
  part: Part,
  offset: number,
  target: DataView,
  at: number,
  count: number,
): void {
  const from = offset - part.start
  copy(part.view, from, target, at, count, part.fileOffset + from)
}

/** The reverse of {@link readPart}. */
export function writePart(
  part: Part,
  offset: number,
  source: DataView,
  at: number,
  count: number,
): void {
  const to = offset - part.start
  copy(source, at, part.view, to, count, part.fileOffset + to)
}

/**
 * What has the width of a register is copied in one piece: the other side sees all of it or nothing.
 *
 * @param place where the memory lies, which says how it is aligned
 */
function copy(
  from: DataView,
  fromAt: number,
  to: DataView,
  toAt: number,
  count: number,
  place: number,
): void {
  if (count === 4 && place % 4 === 0) to.setUint32(toAt, from.getUint32(fromAt, true), true)
  else if (count === 8 && place % 8 === 0) {
    to.setBigUint64(toAt, from.getBigUint64(fromAt, true), true)
  } else if (count === 2 && place % 2 === 0) to.setUint16(toAt, from.getUint16(fromAt, true), true)
  else if (count === 1) to.setUint8(toAt, from.getUint8(fromAt))
  else bytesOf(to, toAt, count).set(bytesOf(from, fromAt, count))
}

function bytesOf(view: DataView, at: number, count: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, count)
}

function partOf(name: string, area: MemoryArea, whole: SharedMemory): Part {
  const { offset, size, memory = whole } = area
  const what = `${name}: memory at ${hex(offset)}+${hex(size)}`
  if (!(memory instanceof MemoryFile)) {
    throw new ErrnoError('EINVAL', `${what}: not of mdev.sharedMemory()`)
  }
  if (!Number.isSafeInteger(offset) || !Number.isSafeInteger(size) || offset < 0 || size <= 0) {
    throw new ErrnoError('EINVAL', `${what}: not a range`)
  }
  const fileOffset = area.memory === undefined ? offset : 0
  if (fileOffset + size > memory.size) {
    throw new ErrnoError('EINVAL', `${what}: beyond a memory of ${hex(memory.size)}`)
  }
  const view = dataViewOf(memory.bytes.subarray(fileOffset, fileOffset + size))
  return { start: offset, end: offset + size, fileOffset, memory, view }
}

/** What is left of a part from `start` on. */
function cutBefore(part: Part, start: number): Part {
  const skipped = start - part.start
  const { buffer, byteOffset, byteLength } = part.view
  if (skipped >= byteLength) return { ...part, start }
  const view = new DataView(buffer, byteOffset + skipped, byteLength - skipped)
  return { ...part, start, fileOffset: part.fileOffset + skipped, view }
}

const NO_VIEW = new DataView(new ArrayBuffer(0))

/** @param backed sorted @throws EINVAL they overlap, or leave the region */
function withGaps(name: string, size: number, backed: readonly Part[]): readonly Part[] {
  const parts: Part[] = []
  let at = 0
  const gapTo = (end: number) => {
    if (at < end) parts.push({ start: at, end, fileOffset: 0, memory: undefined, view: NO_VIEW })
  }
  for (const part of backed) {
    if (part.start < at || part.end > size) {
      const where = `${hex(part.start)}+${hex(part.end - part.start)}`
      const why = part.end > size ? `beyond its ${hex(size)}` : 'overlaps another area'
      throw new ErrnoError('EINVAL', `${name}: memory at ${where}: ${why}`)
    }
    gapTo(part.start)
    parts.push(part)
    at = part.end
  }
  gapTo(size)
  return parts
}
