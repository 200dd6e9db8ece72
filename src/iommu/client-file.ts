/** Files that back client memory: each is kept and mapped once in this process, whoever maps which part of it. */
import { type BigIntStats, fstatSync } from 'node:fs'
import * as abi from '../abi/memory.ts'
import { ErrnoError } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'
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
  O_RDWR,
  O_WRONLY,
} from '../os/fd.ts'
import { FileMapping, MAX_FILE_MAPPING } from '../os/file-mapping.ts'
import type { PinnableFile } from './pinnable.ts'

/** A file and the part of it that backs a map. */
export interface FileRange {
  readonly fd: number
  /** Bytes, page aligned. */
  readonly offset: number
  readonly size: number
  readonly writable: boolean
}

/** Those in use, by what they are and how they may be used. */
const files = new Map<string, ClientFile>()

/**
 * The file behind an fd, held once for the caller.
 *
 * It is mapped where it cannot shrink under us, else reached by file I/O: touching a truncated mapping is SIGBUS, and SIGBUS
 * ends the process.
 *
 * @param range       its fd is taken over, also when this throws
 * @param mapUnsealed whether to map it even though its owner may shrink it, and so end this process
 * @throws EINVAL no regular file, unaligned, shorter than the range, or opened with O_APPEND or O_DIRECT · EACCES not
 *         opened for the access wanted · EPERM sealed against writing · EOPNOTSUPP a file of huge pages · ENOSPC, ENOMEM
 *         no room to map it
 */
export function holdClientFile(range: FileRange, mapUnsealed: boolean): ClientFile {
  const { fd } = range
  let file: ClientFile | undefined
  try {
    const { identity, writable } = checkFile(range)
    const mapped = cannotShrink(fd) || mapUnsealed
    const key = `${identity} ${writable ? 'rw' : 'ro'} ${mapped ? 'mapped' : 'io'}`
    file = files.get(key) ?? new ClientFile(key, { fd, identity, writable, mapped })
    file.hold()
    if (mapped) file.cover(range.offset, range.size)
    return file
  } catch (error) {
    file?.release()
    throw error
  } finally {
    if (file?.fd !== fd) closeFd(fd)
  }
}

/** Names the file behind an fd for as long as somebody has it. */
export function fileIdentity(fd: number): string {
  return identityOf(fstatSync(fd, { bigint: true }))
}

function identityOf({ dev, ino }: BigIntStats): string {
  return `${dev}:${ino}`
}

interface ClientFileOptions {
  readonly fd: number
  readonly identity: string
  readonly writable: boolean
  readonly mapped: boolean
}

export class ClientFile implements PinnableFile {
  /** Stays open, for file I/O and for views. */
  readonly fd: number
  /** `dev:ino` */
  readonly identity: string
  /** Whether it is reached through {@link pieceAt}, else by file I/O. */
  readonly mapped: boolean
  readonly #key: string
  readonly #writable: boolean
  /** By their place in the file. */
  readonly #pieces = new Map<number, FileMapping>()
  #users = 0

  constructor(key: string, { fd, identity, writable, mapped }: ClientFileOptions) {
    this.fd = fd
    this.identity = identity
    this.mapped = mapped
    this.#key = key
    this.#writable = writable
  }

  /** One more user; pairs with {@link release}. */
  hold(): void {
    if (this.#users++ === 0) files.set(this.#key, this)
  }

  /** The last user's ends it: what is mapped is unmapped, and the fd closed. */
  release(): void {
    if (--this.#users > 0) return
    files.delete(this.#key)
    for (const piece of this.#pieces.values()) piece.unmap()
    this.#pieces.clear()
    closeFd(this.fd)
  }

  /** Maps what is not mapped yet of a range. @throws as {@link FileMapping} */
  cover(offset: number, size: number): void {
    const last = indexAt(offset + size - 1)
    for (let index = indexAt(offset); index <= last; index++) {
      if (this.#pieces.has(index)) continue
      // all of it, beyond the end of the file too: a file that grows keeps its address
      const start = index * MAX_FILE_MAPPING
      const piece = new FileMapping(this.fd, start, MAX_FILE_MAPPING, this.#writable)
      this.#pieces.set(index, piece)
    }
  }

  /** The mapping that a byte of the file lies in. @throws EFAULT it is not covered */
  pieceAt(offset: number): FileMapping {
    const piece = this.#pieces.get(indexAt(offset))
    if (piece === undefined)
      throw new ErrnoError('EFAULT', `dma memory: ${hex(offset)} of its file is not mapped`)
    return piece
  }
}

function indexAt(offset: number): number {
  return Math.floor(offset / MAX_FILE_MAPPING)
}

/** @returns which file it is, and whether it may be written at all */
function checkFile(range: FileRange): { identity: string; writable: boolean } {
  const { fd, offset, size } = range
  const stat = fstatSync(fd, { bigint: true })
  if (!stat.isFile()) throw new ErrnoError('EINVAL', 'dma memory: the fd is no file or memfd')
  if (offset % PAGE_SIZE !== 0)
    throw new ErrnoError('EINVAL', `dma memory: file offset ${hex(offset)} is unaligned`)
  const fileSize = Number(stat.size)
  if (size > fileSize || offset > fileSize - size) {
    throw new ErrnoError(
      'EINVAL',
      `dma memory: ${hex(offset)}+${hex(size)} of a file of ${bytes(fileSize)}`,
    )
  }
  const flags = fdFlags(fd)
  const access = flags & O_ACCMODE
  if ((flags & O_PATH) !== 0 || access === O_WRONLY || (range.writable && access !== O_RDWR))
    throw new ErrnoError('EACCES', 'dma memory: the fd was not opened for this access')
  // Where O_APPEND is set, pwrite goes to the end of the file; O_DIRECT wants aligned buffers.
  if ((flags & (O_APPEND | O_DIRECT)) !== 0)
    throw new ErrnoError('EINVAL', 'dma memory: the fd was opened with O_APPEND or O_DIRECT')
  const sealed = ((fileSeals(fd) ?? 0) & (abi.F_SEAL_WRITE | abi.F_SEAL_FUTURE_WRITE)) !== 0
  if (range.writable && sealed)
    throw new ErrnoError('EPERM', 'dma memory: the file is sealed against writing')
  if (isHugePageFile(fd))
    throw new ErrnoError('EOPNOTSUPP', 'dma memory: the file is of huge pages')
  return { identity: identityOf(stat), writable: access === O_RDWR && !sealed }
}

function cannotShrink(fd: number): boolean {
  const seals = fileSeals(fd)
  if (seals === undefined) return false
  return (seals & abi.F_SEAL_SHRINK) !== 0 || addFileSeals(fd, abi.F_SEAL_SHRINK)
}
