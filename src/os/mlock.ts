/** Keeping pages of this process in memory: mlock(2). */
import { ErrnoError } from '../lib/errno.ts'
import { bytes } from '../lib/format.ts'
import { cFunction, systemError } from './ffi.ts'
import { ProcessMemlock } from './memlock-limit.ts'

const mlock = cFunction('mlock', 'int', ['ptr', 'size'])
const munlock = cFunction('munlock', 'int', ['ptr', 'size'])

/**
 * Brings pages in, and keeps them there until they are unlocked or unmapped. Locks do not nest.
 *
 * @param address page aligned, of a shared mapping: in a private writable one the pages would be copied
 * @param length  bytes, whole pages, none of them locked
 * @throws ENOMEM beyond our own RLIMIT_MEMLOCK, too many mappings, no memory, or not mapped; nothing is locked then
 */
export function lockPages(address: number, length: number): void {
  if (mlock(address, length) === 0) return
  const error = systemError(`mlock ${bytes(length)}`)
  munlock(address, length) // a refusal may come after the pages were marked
  // EPERM is a limit of 0, and EAGAIN that not all pages could be brought in
  throw new ErrnoError('ENOMEM', `mlock ${bytes(length)}: ${reasonOf(length)}`, { cause: error })
}

/**
 * Lets go of pages.
 *
 * @returns false, and nothing happens, where that would take more mappings than this process may have: it splits one
 */
export function unlockPages(address: number, length: number): boolean {
  return munlock(address, length) === 0
}

function reasonOf(length: number): string {
  const self = new ProcessMemlock(process.pid)
  try {
    const limit = self.limit()
    const locked = self.locked()
    if (locked + length > limit && !self.hasIpcLock())
      return `this process has ${bytes(locked)} locked, ${bytes(limit)} is its limit (RLIMIT_MEMLOCK)`
    return 'no memory, not mapped, or more mappings than vm.max_map_count'
  } finally {
    self.close()
  }
}
