/** Locks on files that end with their process, however it ends. */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs'
import * as memory from '../abi/memory.ts'
import { cFunction } from './ffi.ts'

const flock = cFunction('flock', 'int', ['int', 'int'])

/** A lock that is held until it is released or the process ends. */
export interface FileLock {
  release(): void
}

/**
 * Takes an exclusive lock on `path`, which is made if need be and names our pid while we hold it. The holder may unlink
 * the file before it releases the lock.
 *
 * @returns undefined when somebody has it, in this process or another
 * @throws ENOENT, EACCES: the file cannot be made
 */
export function tryLockFile(path: string): FileLock | undefined {
  for (;;) {
    const fd = openSync(path, 'a+', 0o600)
    if (flock(fd, memory.LOCK_EX | memory.LOCK_NB) < 0) {
      closeSync(fd)
      return undefined
    }
    if (!isAt(path, fd)) {
      // Its last holder unlinked it between our open and our lock: what we locked nobody else can find.
      closeSync(fd)
      continue
    }
    ftruncateSync(fd, 0)
    writeSync(fd, `${process.pid}\n`)
    return { release: () => closeSync(fd) }
  }
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

function isAt(path: string, fd: number): boolean {
  try {
    return statSync(path).ino === fstatSync(fd).ino
  } catch {
    return false
  }
}
