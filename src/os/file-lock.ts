/** Locks on files that end with their process, however it ends. */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs'
import * as memory from '../abi/memory.ts'
import { cFunction } from './ffi.ts'

const flock = cFunction('flock', 'int', ['int', 'int'])

/** A lock that is held until it is released or the process ends. */
export interface FileLock {
  release(): void
}

/**
 * Takes an exclusive lock on `path`, which is made if need be and names our pid while we hold it.
 *
 * @returns undefined when another process (or another holder in this one) has it
 */
export function tryLockFile(path: string): FileLock | undefined {
  const fd = openSync(path, 'a+', 0o600)
  if (flock(fd, memory.LOCK_EX | memory.LOCK_NB) < 0) {
    closeSync(fd)
    return undefined
  }
  ftruncateSync(fd, 0)
  writeSync(fd, `${process.pid}\n`)
  return { release: () => closeSync(fd) }
}

/** Who holds the lock on `path`, by the pid it wrote; undefined when that cannot be read. */
export function lockHolder(path: string): number | undefined {
  try {
    const pid = Number.parseInt(readFileSync(path, 'utf8'), 10)
    return Number.isNaN(pid) ? undefined : pid
  } catch {
    return undefined
  }
}
