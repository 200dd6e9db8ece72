/** A container with client memory of every kind, for tests of how it is reached. */
import { ftruncateSync, readSync } from 'node:fs'
import { Container } from '../../src/iommu/container.ts'
import type { RemoteMemory } from '../../src/iommu/memory.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { duplicate, Fds, makeMemfd } from './fds.ts'

const PAGE = 4096
/** Pages of each kind. */
export const GUEST_PAGES = 4
const SIZE = GUEST_PAGES * PAGE

/** The ways in which memory is reached. */
export const WAYS = ['mapped', 'file', 'message'] as const
export type Way = (typeof WAYS)[number]

/** Where memory of each kind starts; they adjoin. */
export const START: Readonly<Record<Way, number>> = {
  mapped: 0x10000,
  file: 0x10000 + SIZE,
  message: 0x10000 + 2 * SIZE,
}

/** A client that serves what it is asked at once, or when it is told to. */
class Remote implements RemoteMemory {
  readonly bytes = new Uint8Array(SIZE)

  async read(iova: number, target: Uint8Array): Promise<void> {
    const at = iova - START.message
    target.set(this.bytes.subarray(at, at + target.length))
  }

  async write(iova: number, source: Uint8Array): Promise<void> {
    this.bytes.set(source, iova - START.message)
  }
}

export class Guest implements Disposable {
  readonly fds = new Fds()
  readonly remote = new Remote()
  readonly container = new Container({ maxMaps: 16, remote: this.remote })
  readonly memory = this.container.memory
  readonly mapped = this.fds.own(createMemfd('guest-mapped', SIZE))
  readonly file = this.fds.own(makeMemfd(0)) // cannot be sealed

  /** @param rights of all maps */
  constructor(rights = { readable: true, writable: true }) {
    ftruncateSync(this.file, SIZE)
    for (const way of WAYS) this.map(way, rights)
  }

  map(way: Way, rights = { readable: true, writable: true }): void {
    const fd = way === 'message' ? undefined : duplicate(this[way])
    this.container.map({
      iova: START[way],
      size: SIZE,
      ...rights,
      ...(fd === undefined ? {} : { file: { fd, offset: 0 } }),
    })
  }

  /** What the client sees at an offset in its memory of a kind. */
  sees(way: Way, offset: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    if (way === 'message') bytes.set(this.remote.bytes.subarray(offset, offset + length))
    else readSync(this[way], bytes, 0, length, offset)
    return bytes
  }

  [Symbol.dispose](): void {
    this.container.close()
    this.fds[Symbol.dispose]()
  }
}
