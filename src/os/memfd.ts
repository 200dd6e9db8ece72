/** Anonymous files in memory, to share with a peer. */
import { ftruncateSync, readSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import * as memory from '../abi/memory.ts'
import { addressOf, cFunction, check, lastErrno, systemError } from './ffi.ts'
import { addFileSeals, closeFd } from './fd.ts'

const memfdCreate = cFunction('memfd_create', 'int', ['ptr', 'u32'])
const lseek = cFunction('lseek', 'size', ['int', 'size', 'int'])

/**
 * A memfd of `size` bytes, sealed so that it can neither shrink nor grow: whoever maps it is safe from SIGBUS.
 *
 * @param name shown in /proc/PID/fd, for people
 * @returns its fd, owned by the caller
 */
export function createMemfd(name: string, size: number): number {
  const cName = Buffer.from(`${name}\0`)
  const fd = check(
    memfdCreate(addressOf(cName), memory.MFD_CLOEXEC | memory.MFD_ALLOW_SEALING),
    `memfd_create ${name}`,
  )
  try {
    ftruncateSync(fd, size)
    if (!addFileSeals(fd, memory.F_SEAL_SHRINK | memory.F_SEAL_GROW | memory.F_SEAL_SEAL))
      throw systemError(`seal memfd ${name}`)
    return fd
  } catch (error) {
    closeFd(fd)
    throw error
  }
}

/** Most bytes copied in one go. */
const CHUNK = 1024 * 1024
const PAGE = 4096

/**
 * Copies the first `size` bytes of a memfd into another of zeros; pages that were never written cost nothing.
 *
 * @throws ENOMEM, and what else reading and writing may say
 */
export function copyFile(from: number, to: number, size: number): void {
  const chunk = new Uint8Array(Math.min(CHUNK, size))
  for (let at = 0; at < size;) {
    const start = lseek(from, at, memory.SEEK_DATA)
    if (start < 0) {
      if (lastErrno() === constants.errno.ENXIO) return // only holes are left
      throw systemError(`lseek SEEK_DATA of fd ${from}`)
    }
    const hole = check(lseek(from, start, memory.SEEK_HOLE), `lseek SEEK_HOLE of fd ${from}`)
    const end = Math.min(size, Math.max(hole, start + PAGE)) // a peer may be punching holes meanwhile
    for (at = start; at < end;) {
      const count = readSync(from, chunk, 0, Math.min(chunk.length, end - at), at)
      if (count === 0) return
      for (let done = 0; done < count;) done += writeSync(to, chunk, done, count - done, at + done)
      at += count
    }
  }
}
