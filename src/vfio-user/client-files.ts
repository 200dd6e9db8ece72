/** Files that a server sends: what of them may be mapped, and what is wrong with the rest. */
import { fstatSync } from 'node:fs'
import { ErrnoError } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import { type Arena, type Mapping, PAGE_SIZE } from '../os/arena.ts'

/**
 * Maps `size` bytes of a server's file, and what is left of their last page.
 *
 * @param what   for messages
 * @param offset in the file, bytes
 * @throws EPROTO unaligned, or beyond the file, which would be SIGBUS · ENOSPC, EACCES and what else mmap may say
 */
export function mapFile(
  arena: Arena,
  what: string,
  fd: number,
  offset: number,
  size: number,
  writable: boolean,
): Mapping {
  const file = fstatSync(fd)
  if (offset % PAGE_SIZE !== 0 || size > file.size || offset > file.size - size)
    throw broken(`${what}: at ${hex(offset)} of a file of ${bytes(file.size)}`)
  return arena.map(fd, offset, Math.ceil(size / PAGE_SIZE) * PAGE_SIZE, writable)
}

/** What the server says is not true, or not safe to use. */
export function broken(message: string): ErrnoError {
  return new ErrnoError('EPROTO', `vfio-user server: ${message}`)
}
