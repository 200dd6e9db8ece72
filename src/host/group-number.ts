/** The number of a group that mdevs of several hosts are in: a locked file as any group's is, but its lock is shared. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import type { Claim } from '../mdev/claims.ts'
import type { FileLock } from '../os/file-lock.ts'
import { claimOf, lockIn } from './lock-files.ts'

/** Takes the lowest free number. @param directory of all group numbers */
export function claimSharedNumber(directory: string): Claim<number> {
  for (let number = 0; ; number++) {
    const lock = lockIn(directory, fileOf(number))
    if (lock?.share() === true) return claim(directory, number, lock)
  }
}

/** Takes the number that others have. @returns nothing where they have just given it up */
export function joinSharedNumber(directory: string, number: number): Claim<number> | undefined {
  const lock = lockIn(directory, fileOf(number), { shared: true })
  return lock === undefined ? undefined : claim(directory, number, lock)
}

function claim(directory: string, number: number, lock: FileLock): Claim<number> {
  return claimOf(number, lock, () => {
    if (lock.unshare()) rmSync(join(directory, fileOf(number)), { force: true }) // nobody else has it
  })
}

function fileOf(number: number): string {
  return `${number}.lock`
}
