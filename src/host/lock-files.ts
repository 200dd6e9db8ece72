/** Directories below the run-time root that are made by who needs them, and removed by who is last. */
import { mkdirSync, readdirSync, rmdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { codeOf } from '../lib/errno.ts'
import type { Claim } from '../mdev/claims.ts'
import { type FileLock, type LockOptions, tryLockFile } from '../os/file-lock.ts'

/** The lock of a directory, on which depends whose it is. */
export const LOCK = 'lock'
/** Far more than others can take the directory away in a row; a link that leads nowhere is ENOENT for ever. */
const MAX_ATTEMPTS = 1000

/** A claim that holds while `lock` does. `tidy` removes the lock's file, and runs first: the file may be another's later. */
export function claimOf<T>(value: T, lock: FileLock, tidy: () => void): Claim<T> {
  let held = true
  return {
    value,
    release() {
      if (!held) return
      held = false
      try {
        tidy()
      } finally {
        lock.release()
      }
    },
  }
}

/** Locks `directory`/`file`; both are made if need be. The directory may vanish at any moment with its last holder. */
export function lockIn(
  directory: string,
  file: string,
  options?: LockOptions,
): FileLock | undefined {
  for (let attempt = 1; ; attempt++) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 })
      return tryLockFile(join(directory, file), options)
    } catch (error) {
      if (codeOf(error) !== 'ENOENT' || attempt === MAX_ATTEMPTS) throw error
    }
  }
}

/** Removes all but the lock. */
export function emptyDirectory(directory: string): void {
  for (const name of namesIn(directory)) {
    if (name !== LOCK) rmSync(join(directory, name), { recursive: true, force: true })
  }
}

export function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return [] // somebody has tidied up by hand
    throw error
  }
}

/** Removes the lock, and the directory if that was all. */
export function removeLock(directory: string): void {
  rmSync(join(directory, LOCK), { force: true })
  try {
    rmdirSync(directory)
  } catch (error) {
    if (!['ENOENT', 'ENOTEMPTY'].includes(codeOf(error) ?? '')) throw error
  }
}
