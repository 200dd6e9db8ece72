/** Anonymous files in memory, to share with a peer. */
import { ftruncateSync } from 'node:fs'
import * as memory from '../abi/memory.ts'
import { addressOf, cFunction, check, systemError } from './ffi.ts'
import { addFileSeals, closeFd } from './fd.ts'

const memfdCreate = cFunction('memfd_create', 'int', ['ptr', 'u32'])

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
