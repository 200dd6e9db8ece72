/** Locks on files that end with their process, however it ends. */
import { fstatSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { constants } from 'node:os'
import * as memory from '../abi/memory.ts'
import { Unwind } from '../lib/unwind.ts'
import { closeFd } from './fd.ts'
import { cFunction, lastErrno, systemError } from './ffi.ts'

const flock = cFunction('flock', 'int', ['int', 'int'])

/** A lock that is held until it is released or the process ends. */
export interface FileLock {
  /** Idempotent. */
  release(): void
}

/**
 * Takes an exclusive lock on `path`, which is made if need be and names our pid while we hold it. The holder may unlink
 * the file before it releases the lock.
 *
 * @returns undefined when somebody has it, in this process or another
 * @throws ENOENT, EACCES: the file cannot be made · ENOSPC: the pid cannot be written · ENOLCK
 */
export function tryLockFile(path: string): FileLock | undefined {
  for (;;) {
    using undo = new Unwind()
    const fd = openSync(path, 'a+', 0o600)
    undo.defer(() => closeFd(fd))
    if (!tryLockFd(fd, path)) return undefined
    // Its last holder may have unlinked it between our open and our lock: what we locked nobody else can find.
    if (!isAt(path, fd)) continue
    ftruncateSync(fd, 0)
    writeSync(fd, `${process.pid}\n`)
    undo.keep()
    return heldBy(fd)
  }
}

/** Locks the file of an fd until that is closed. @returns false when somebody has it · @throws ENOLCK */
export function tryLockFd(fd: number, path: string): boolean {
  if (flock(fd, memory.LOCK_EX | memory.LOCK_NB) === 0) return true
  if (lastErrno() !== constants.errno.EWOULDBLOCK) throw systemError(`flock ${path}`)
  return false
}

function heldBy(fd: number): FileLock {
  let held = true
  return {
    release() {
      if (held) closeFd(fd)
      held = false
    },
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
