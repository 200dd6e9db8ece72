/** A container as its pins see it, over real memfds, and what is needed to look at locked memory. */
import { fstatSync, readFileSync } from 'node:fs'
import type { Backing, PinnableFile, PinnableMap, PinSpace } from '../../src/iommu/pinnable.ts'
import { closeFd } from '../../src/os/fd.ts'
import { bytesAt, cFunction, check } from '../../src/os/ffi.ts'
import { createMemfd } from '../../src/os/memfd.ts'

const mmap = cFunction('mmap', 'size', ['ptr', 'size', 'int', 'int', 'int', 'size'])
const munmap = cFunction('munmap', 'int', ['ptr', 'size'])

const PAGE = 4096
// <sys/mman.h>
const PROT_READ_WRITE = 3
const MAP_SHARED = 1
const MAP_FIXED = 0x10
const MAP_RESERVE = 0x4022 // private, anonymous, without swap space

/** Bytes that a process has locked by mlock. */
export function lockedBytes(pid: number | 'self' = 'self'): number {
  const [, kiB] = /^VmLck:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return Number(kiB) * 1024
}

/** A memfd in shared mappings with pages between them that are none of it. */
export class SharedFile implements PinnableFile, Disposable {
  readonly fd: number
  readonly identity: string
  readonly #pieceSize: number
  readonly #step: number
  readonly #length: number
  readonly #reserved: number

  /** @param pages of the file @param piecePages of each mapping */
  constructor(pages: number, piecePages = pages) {
    this.fd = createMemfd('pinned', pages * PAGE)
    const { dev, ino } = fstatSync(this.fd, { bigint: true })
    this.identity = `${dev}:${ino}`
    this.#pieceSize = piecePages * PAGE
    this.#step = this.#pieceSize + PAGE
    this.#length = (pages / piecePages) * this.#step
    this.#reserved = check(mmap(0, this.#length, 0, MAP_RESERVE, -1, 0), 'mmap')
    for (let i = 0; i < pages / piecePages; i++) {
      const flags = MAP_SHARED | MAP_FIXED
      const at = this.#reserved + i * this.#step
      check(mmap(at, this.#pieceSize, PROT_READ_WRITE, flags, this.fd, i * this.#pieceSize), 'mmap')
    }
  }

  pieceAt(offset: number): { address: number; offset: number; length: number } {
    const index = Math.floor(offset / this.#pieceSize)
    const address = this.#reserved + index * this.#step
    return { address, offset: index * this.#pieceSize, length: this.#pieceSize } // anew, as anybody may
  }

  bytes(offset: number, length: number): Uint8Array {
    const piece = this.pieceAt(offset)
    return new Uint8Array(bytesAt(piece.address + offset - piece.offset, length))
  }

  [Symbol.dispose](): void {
    munmap(this.#reserved, this.#length)
    closeFd(this.fd)
  }
}

export class TestSpace implements PinSpace {
  readonly maps: PinnableMap[] = []
  /** What was said to be written, as pages. */
  readonly written: number[] = []
  /** What viewing throws. */
  viewError: Error | undefined

  /** @param rights of `rw` */
  map(iova: number, size: number, rights: string, backing?: Backing, lockExempt = false): void {
    const [readable, writable] = [rights.includes('r'), rights.includes('w')]
    this.maps.push({ iova, size, readable, writable, backing, lockExempt })
  }

  unmap(iova: number): void {
    this.maps.splice(
      this.maps.findIndex((map) => map.iova === iova),
      1,
    )
  }

  find(iova: number): PinnableMap | undefined {
    return this.maps.find((map) => iova >= map.iova && iova < map.iova + map.size)
  }

  views(iova: number, length: number): readonly Uint8Array[] {
    if (this.viewError !== undefined) throw this.viewError
    const map = this.find(iova)
    const file = map?.backing?.file
    if (map?.backing === undefined || !(file instanceof SharedFile)) throw new Error('no file')
    return [file.bytes(map.backing.offset + iova - map.iova, length)]
  }

  wrote(iova: number, length: number): void {
    for (let at = iova; at < iova + length; at += PAGE) this.written.push(at / PAGE)
  }
}
