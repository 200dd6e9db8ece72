/** What a container is, as simply as it can be said: maps in no order, pages in arrays, and no shortcut. */
import { KINDS } from './backing.ts'

const PAGE = 4096
export const FILE_PAGES = 6
export const IOVA_PAGES = 10
export const MAX_MAPS = 4

/** `file` -1: none */
export interface MapOperation {
  readonly kind: 'map'
  readonly first: number
  readonly pages: number
  readonly file: number
  readonly filePage: number
  readonly readable: boolean
  readonly writable: boolean
}

export class Refusal extends Error {
  readonly code: string

  constructor(code: string) {
    super(code)
    this.code = code
  }
}

export class Model {
  readonly files = KINDS.map(() => new Uint8Array(FILE_PAGES * PAGE))
  maps: MapOperation[] = []

  map(map: MapOperation): void {
    if (map.pages === 0) throw new Refusal('EINVAL')
    if (this.maps.some((other) => JSON.stringify(other) === JSON.stringify(map))) return
    for (let page = 0; page < map.pages; page++) {
      if (this.mapAt(map.first + page) !== undefined) throw new Refusal('EEXIST')
    }
    if (this.maps.length >= MAX_MAPS) throw new Refusal('ENOSPC')
    if (map.file >= 0 && map.filePage + map.pages > FILE_PAGES) throw new Refusal('EINVAL')
    this.maps.push(map)
  }

  /** @returns bytes */
  unmap(first: number, pages: number): number {
    const end = first + pages
    const overlaps = (map: MapOperation) => map.first < end && map.first + map.pages > first
    const isInside = (map: MapOperation) => map.first >= first && map.first + map.pages <= end
    const gone = this.maps.filter(overlaps)
    if (pages === 0 || !gone.every(isInside)) throw new Refusal('EINVAL')
    this.maps = this.maps.filter((map) => !gone.includes(map))
    return gone.reduce((sum, map) => sum + map.pages, 0) * PAGE
  }

  unmapAll(): number {
    return this.unmap(0, 2 * IOVA_PAGES)
  }

  read(at: number, target: Uint8Array): void {
    for (let i = 0; i < target.length; i++) {
      const [file, offset] = this.#byteAt(at + i, 'readable')
      target[i] = file[offset] ?? 0
    }
  }

  write(at: number, source: Uint8Array): void {
    for (const [i, value] of source.entries()) {
      const [file, offset] = this.#byteAt(at + i, 'writable')
      file[offset] = value
    }
  }

  /** @throws what an access of all of it is refused with */
  check(at: number, length: number, right: 'readable' | 'writable'): void {
    for (let i = 0; i < length; i++) this.#byteAt(at + i, right)
  }

  #byteAt(at: number, right: 'readable' | 'writable'): [Uint8Array, number] {
    const map = this.mapAt(Math.floor(at / PAGE))
    if (map === undefined) throw new Refusal('EFAULT')
    if (!map[right]) throw new Refusal('EACCES')
    const file = this.files[map.file]
    if (file === undefined) throw new Refusal('EFAULT')
    return [file, at - (map.first - map.filePage) * PAGE]
  }

  mapAt(page: number): MapOperation | undefined {
    return this.maps.find(({ first, pages }) => page >= first && page < first + pages)
  }
}
