/**
 * Jobs about maps, in containers of their own, behind a gate as a device has it: a client announces at most 65,535 maps, and
 * would be measured along with the messages that it maps by.
 */
import { closeSync, openSync } from 'node:fs'
import { DmaGate } from '../src/device/dma.ts'
import { Container } from '../src/iommu/container.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import { cFunction, check } from '../src/os/ffi.ts'
import { createMemfd } from '../src/os/memfd.ts'
import { timeBatches } from './dma-batches.ts'
import type { Job } from './dma-jobs.ts'
import { PagePlaces, Places } from './dma-places.ts'

const PAGE = 4096
/** Pages behind all maps that are looked up: few, so that their own cache misses are not measured. */
const LOOK_UP_PAGES = 16
const MAX_MAPS = 200_000

const dup = cFunction('dup', 'int', ['int'])

/** Those with many maps take seconds to make, so they are kept: by how many. */
const spaces = new Map<number, Space>()

/** `look-up MAPS COUNT`: the first 32 bits of random ones of MAPS maps, each of which has been accessed before. */
export const lookUp: Job = async ({ path }, batches, words) => {
  const [maps, count] = words.map(Number) as [number, number]
  const { gate } = spaceOf(maps, path)
  const places = new Places(maps)
  let wrong = 0
  const result = await timeBatches(batches, {
    parts: count,
    work() {
      for (let i = 0; i < count; i++) {
        const map = places.next()
        if (gate.readU32(map * 2 * PAGE) !== map % LOOK_UP_PAGES) wrong++
      }
    },
  })
  if (wrong > 0) throw new ErrnoError('EIO', `look-up: ${wrong} found another page`)
  return result
}

function spaceOf(maps: number, path: string): Space {
  let space = spaces.get(maps)
  if (space === undefined) {
    space = new Space(path)
    for (let i = 0; i < maps; i++) {
      space.map(i * 2 * PAGE, (i % LOOK_UP_PAGES) * PAGE)
      void space.gate.readU32(i * 2 * PAGE)
    }
    spaces.set(maps, space)
  }
  return space
}

/** `map THERE COUNT`: pages of a file that is mapped already, with THERE others around them. */
export const map: Job = async ({ path, size }, batches, words) => {
  const [there, count] = words.map(Number) as [number, number]
  using space = new Space(path)
  const places = new PagePlaces(size, PAGE)
  for (let i = 0; i < there; i++) space.map(i * 2 * PAGE, places.next())
  // between the others, all over them
  const iovas = Array.from({ length: count }, (_, i) => {
    return (Math.floor((i * Math.max(there, count)) / count) * 2 + 1) * PAGE
  })
  const offsets = iovas.map(() => places.next())
  let fds: number[] = []
  return await timeBatches(batches, {
    parts: count,
    prepare: () => (fds = iovas.map(() => space.fd())),
    work() {
      for (let i = 0; i < count; i++) space.mapFile(iovas[i]!, PAGE, fds[i]!, offsets[i]!)
      for (let i = 0; i < count; i++) space.unmap(iovas[i]!, PAGE)
    },
  })
}

/** `map-file COUNT`: all of a file that nobody has mapped. */
export const mapFile: Job = async ({ path, size }, batches, words) => {
  const [count] = words.map(Number) as [number]
  using space = new Space(path)
  let fds: number[] = []
  return await timeBatches(batches, {
    parts: count,
    prepare: () => (fds = Array.from({ length: count }, () => createMemfd('other', size))),
    work() {
      for (const fd of fds) {
        space.mapFile(0, size, fd, 0)
        space.unmap(0, size)
      }
    },
  })
}

/** A container, a gate to its memory, and a file to map pages of. */
class Space implements Disposable {
  readonly gate = new DmaGate(() => true)
  readonly #container = new Container({
    maxMaps: MAX_MAPS,
    remote: { read: refuse, write: refuse },
  })
  readonly #fd: number

  constructor(path: string) {
    this.#fd = openSync(path, 'r+')
    this.gate.memory = this.#container.memory
  }

  /** Another fd of the file, as each map comes with one. */
  fd(): number {
    return check(dup(this.#fd), `dup of fd ${this.#fd}`)
  }

  /** Maps one page at `offset` of the file. */
  map(iova: number, offset: number): void {
    this.mapFile(iova, PAGE, this.fd(), offset)
  }

  /** @param fd taken over */
  mapFile(iova: number, size: number, fd: number, offset: number): void {
    this.#container.map({ iova, size, readable: true, writable: true, file: { fd, offset } })
  }

  unmap(iova: number, size: number): void {
    void this.#container.unmap(iova, size) // nothing is in use, so done on return
  }

  [Symbol.dispose](): void {
    void this.#container.unmapAll()
    closeSync(this.#fd)
  }
}

async function refuse(): Promise<never> {
  throw new ErrnoError('EIO', 'all memory here is of files')
}
