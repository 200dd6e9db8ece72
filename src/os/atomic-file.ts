/** Files that are there whole or not at all: written beside, synced, then given their name. */
import {
  closeSync,
  constants,
  fstatSync,
  fsyncSync,
  linkSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { randomUUID } from 'node:crypto'
import { ErrnoError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'

/** How the names of files begin that are being written; what a crash leaves of them may be removed. */
export const UNFINISHED = '.new-'

export interface WriteOptions {
  /** Bits of chmod; those of the process's umask are taken off. */
  readonly mode: number
  /** Refuses with EEXIST where there is a file already, instead of replacing it. */
  readonly exclusive?: boolean
}

/**
 * Writes a file so that whoever looks, also after a power cut, finds the old text or the new one.
 *
 * @throws EEXIST with `exclusive` · ENOENT no such directory · ENOSPC, EACCES, EROFS…: nothing has changed then
 */
export function writeFileAtomic(path: string, text: string, options: WriteOptions): void {
  const directory = dirname(path)
  const beside = join(directory, `${UNFINISHED}${randomUUID()}`)
  try {
    const fd = openSync(beside, 'wx', options.mode)
    try {
      const contents = Buffer.from(text)
      for (let done = 0; done < contents.length;) done += writeSync(fd, contents, done)
      fsyncSync(fd)
    } finally {
      closeSync(fd)
    }
    if (options.exclusive === true) linkSync(beside, path)
    else renameSync(beside, path)
  } finally {
    rmSync(beside, { force: true })
  }
  syncDirectory(directory)
}

/** Makes what was done to the names in a directory last. */
export function syncDirectory(path: string): void {
  const fd = openSync(path, constants.O_RDONLY | constants.O_DIRECTORY)
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/**
 * Reads a small text file; never through a link, and nothing but a regular file.
 *
 * @param limit most bytes
 * @throws ENOENT, EACCES · ELOOP a link · EINVAL no regular file, or not UTF-8 · EFBIG larger than `limit`
 */
export function readSmallFile(path: string, limit: number): string {
  // Not blocking: opening a FIFO would wait for a writer.
  const fd = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK)
  try {
    if (!fstatSync(fd).isFile()) throw new ErrnoError('EINVAL', `${path}: no regular file`)
    const contents = Buffer.alloc(limit + 1)
    let length = 0
    for (let count = -1; count !== 0 && length < contents.length; length += count) {
      count = readSync(fd, contents, length, contents.length - length, null)
    }
    if (length > limit) throw new ErrnoError('EFBIG', `${path}: more than ${bytes(limit)}`)
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(contents.subarray(0, length))
    } catch (error) {
      throw new ErrnoError('EINVAL', `${path}: not UTF-8`, { cause: error })
    }
  } finally {
    closeSync(fd)
  }
}
