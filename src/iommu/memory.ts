/** The ways in which a client's memory can be reached: mapped, by file I/O, or not at all. */
import { type BigIntStats, fstatSync, readSync, writeSync } from 'node:fs'
import * as abi from '../abi/memory.ts'
import { ErrnoError } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import { type Arena, type Mapping, PAGE_SIZE } from '../os/arena.ts'
import {
  addFileSeals,
  closeFd,
  fdFlags,
  fileSeals,
  isHugePageFile,
  O_ACCMODE,
  O_APPEND,
  O_DIRECT,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
} from '../os/fd.ts'

/** Nothing where it has been done already, else a promise of it. */
export type Done = void | Promise<void>

/** Memory that only the client itself can reach, by IOVA. */
export interface RemoteMemory {
  read(iova: number, target: Uint8Array): Promise<void>
  write(iova: number, source: Uint8Array): Promise<void>
}

/** Memory behind one map; offsets and lengths are inside it, which the container has checked. */
export interface Memory {
  /** Whether the fd stays open until `close`. */
  readonly keepsFd: boolean
  /** Done on return, or when what is returned resolves. */
  read(offset: number, target: Uint8Array): Done
  write(offset: number, source: Uint8Array): Done
  /** Without a copy. @throws EOPNOTSUPP where the memory is not mapped here in one piece */
  view(offset: number, length: number): Uint8Array
  close(): void
}

/** A file and the part of it that backs a map. */
export interface FileRange {
  /** Owned by the memory made from it, also when making it throws. */
  readonly fd: number
  /** Bytes, page aligned. */
  readonly offset: number
  readonly size: number
  readonly writable: boolean
}

/**
 * Makes `range` reachable: by mapping where the file cannot shrink under us, else by file I/O, because touching a
 * truncated mapping is SIGBUS, and SIGBUS ends the process.
 *
 * @throws EINVAL no regular file, unaligned, or shorter than the range · EACCES not opened for the access wanted ·
 *         EPERM sealed against writing · EOPNOTSUPP a file of huge pages · ENOSPC, ENOMEM no room to map it
 */
export function openMemory(arena: Arena, range: FileRange): Memory {
  try {
    checkFile(range)
    if (!cannotShrink(range.fd)) return new FileMemory(range)
    const memory = new MappedMemory(arena, range)
    closeFd(range.fd) // the mapping keeps the file
    return memory
  } catch (error) {
    closeFd(range.fd)
    throw error
  }
}

function checkFile({ fd, offset, size, writable }: FileRange): void {
  const stat = fstatSync(fd)
  if (!stat.isFile()) throw new ErrnoError('EINVAL', 'dma memory: the fd is no file or memfd')
  if (offset % PAGE_SIZE !== 0)
    throw new ErrnoError('EINVAL', `dma memory: file offset ${hex(offset)} is unaligned`)
  if (size > stat.size || offset > stat.size - size) {
    throw new ErrnoError(
      'EINVAL',
      `dma memory: ${hex(offset)}+${hex(size)} of a file of ${bytes(stat.size)}`,
    )
  }
  const flags = fdFlags(fd)
  const access = flags & O_ACCMODE
  if ((flags & O_PATH) !== 0 || access === O_WRONLY || (writable && access === O_RDONLY)) {
    throw new ErrnoError('EACCES', 'dma memory: the fd was not opened for this access')
  }
}

/** Names the file behind an fd for as long as somebody has it. */
export function fileIdentity(fd: number): string {
  const { dev, ino }: BigIntStats = fstatSync(fd, { bigint: true })
  return `${dev}:${ino}`
}

function cannotShrink(fd: number): boolean {
  const seals = fileSeals(fd)
  if (seals === undefined) return false
  return (seals & abi.F_SEAL_SHRINK) !== 0 || addFileSeals(fd, abi.F_SEAL_SHRINK)
}

/** Most bytes of one piece of a mapping; an ArrayBuffer of Node 20 ends at 4 GiB. */
const PIECE = 2 ** 32

class MappedMemory implements Memory {
  readonly keepsFd = false
  readonly #pieces: Mapping[] = []

  constructor(arena: Arena, { fd, offset, size, writable }: FileRange) {
    try {
      for (let at = 0; at < size; at += PIECE) {
        this.#pieces.push(arena.map(fd, offset + at, Math.min(PIECE, size - at), writable))
      }
    } catch (error) {
      this.close()
      throw error
    }
  }

  read(offset: number, target: Uint8Array): void {
    if (this.#isWhole(offset, target.length)) target.set(this.#slice(offset, target.length))
    else this.#forEachPiece(offset, target, (piece, part) => part.set(piece))
  }

  write(offset: number, source: Uint8Array): void {
    if (this.#isWhole(offset, source.length)) this.#slice(offset, source.length).set(source)
    else this.#forEachPiece(offset, source, (piece, part) => piece.set(part))
  }

  view(offset: number, length: number): Uint8Array {
    if (!this.#isWhole(offset, length)) {
      throw new ErrnoError(
        'EOPNOTSUPP',
        `dma view of ${bytes(length)}: crosses a 4 GiB boundary of its map`,
      )
    }
    return this.#slice(offset, length)
  }

  close(): void {
    for (const piece of this.#pieces) piece.unmap()
  }

  #isWhole(offset: number, length: number): boolean {
    return (offset % PIECE) + length <= PIECE
  }

  #slice(offset: number, length: number): Uint8Array {
    const at = offset % PIECE
    const piece = this.#pieces[Math.floor(offset / PIECE)]
    if (piece === undefined)
      throw new ErrnoError('EFAULT', `dma: no memory at ${hex(offset)} of its map`)
    return piece.bytes.subarray(at, at + length)
  }

  #forEachPiece(
    offset: number,
    buffer: Uint8Array,
    copy: (piece: Uint8Array, part: Uint8Array) => void,
  ): void {
    for (let done = 0; done < buffer.length;) {
      const length = Math.min(buffer.length - done, PIECE - ((offset + done) % PIECE))
      copy(this.#slice(offset + done, length), buffer.subarray(done, done + length))
      done += length
    }
  }
}

class FileMemory implements Memory {
  readonly keepsFd = true
  readonly #range: FileRange

  constructor(range: FileRange) {
    // Where O_APPEND is set, pwrite goes to the end of the file; O_DIRECT wants aligned buffers.
    if ((fdFlags(range.fd) & (O_APPEND | O_DIRECT)) !== 0)
      throw new ErrnoError('EINVAL', 'dma memory: the fd was opened with O_APPEND or O_DIRECT')
    if (isHugePageFile(range.fd))
      throw new ErrnoError('EOPNOTSUPP', 'dma memory: huge pages cannot be written by file I/O')
    this.#range = range
  }

  read(offset: number, target: Uint8Array): void {
    const { fd, offset: start } = this.#range
    for (let done = 0; done < target.length;) {
      const count = readSync(fd, target, done, target.length - done, start + offset + done)
      if (count === 0) {
        target.fill(0, done) // the client has cut its file: its pages are gone, and read as zeros
        return
      }
      done += count
    }
  }

  write(offset: number, source: Uint8Array): void {
    const { fd, offset: start } = this.#range
    for (let done = 0; done < source.length;) {
      done += writeSync(fd, source, done, source.length - done, start + offset + done)
    }
  }

  view(): Uint8Array {
    throw new ErrnoError(
      'EOPNOTSUPP',
      'dma view: this memory can shrink, so it is not mapped; use read and write',
    )
  }

  close(): void {
    closeFd(this.#range.fd)
  }
}

/** A range that the client declared without a file: it reads and writes for us. */
export class MessageMemory implements Memory {
  readonly keepsFd = false
  readonly #remote: RemoteMemory
  readonly #iova: number

  constructor(remote: RemoteMemory, iova: number) {
    this.#remote = remote
    this.#iova = iova
  }

  read(offset: number, target: Uint8Array): Done {
    return this.#remote.read(this.#iova + offset, target)
  }

  write(offset: number, source: Uint8Array): Done {
    return this.#remote.write(this.#iova + offset, source)
  }

  view(): Uint8Array {
    throw new ErrnoError(
      'EOPNOTSUPP',
      'dma view: this memory came without a file; use read and write, or start the VM with shared memory',
    )
  }

  close(): void {}
}
