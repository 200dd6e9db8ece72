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
  /**
   * Shares it: others can take it shared from now on, and nobody alone.
   *
   * @returns whether it is still held: where somebody else has come in between it is lost
   */
  share(): boolean
  /** Takes it alone again. @returns whether it is still held: where others share it, it is lost */
  unshare(): boolean
  /** Idempotent. */
  release(): void
}

export interface LockOptions {
  /** Together with others that share it. The text of the file stays as it is. */
  readonly shared?: boolean
  /** Text of the file while we hold it; our pid unless given. */
  readonly text?: string
}

/**
 * Takes a lock on `path`, which is made if need be: exclusive, unless it is to be shared. The holder may unlink the file
 * before it releases the lock.
 *
 * @returns undefined when somebody has it, in this process or another
 * @throws ENOENT, EACCES: the file cannot be made · ENOSPC: the pid cannot be written · ENOLCK
 */
export function tryLockFile(
  path: string,
  { shared = false, text = `${process.pid}\n` }: LockOptions = {},
): FileLock | undefined {
  for (;;) {
    using undo = new Unwind()
    const fd = openSync(path, 'a+', 0o600)
    undo.defer(() => closeFd(fd))
    if (!tryLockFd(fd, path, shared ? memory.LOCK_SH : memory.LOCK_EX)) return undefined
    // Its last holder may have unlinked it between our open and our lock: what we locked nobody else can find.
    if (!isAt(path, fd)) continue
    if (!shared) {
      ftruncateSync(fd, 0)
      writeSync(fd, text)
    }
    undo.keep()
    return heldBy(fd, path)
  }
}

/** Locks the file of an fd until that is closed. @returns false when somebody has it · @throws ENOLCK */
export function tryLockFd(fd: number, path: string, kind: number = memory.LOCK_EX): boolean {
  if (flock(fd, kind | memory.LOCK_NB) === 0) return true
  if (lastErrno() !== constants.errno.EWOULDBLOCK) throw systemError(`flock ${path}`)
  return false
}

/** Whether somebody holds the lock on `path`; taking it meanwhile is refused for a moment. */
export function isLocked(path: string): boolean {
  let fd: number
  try {
    fd = openSync(path, 'r')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
  try {
    return !tryLockFd(fd, path, memory.LOCK_SH)
  } finally {
    closeFd(fd)
  }
}

function heldBy(fd: number, path: string): FileLock {
  let held = true
  const release = () => {
    if (held) closeFd(fd)
    held = false
  }
  /** The kernel lets go of the one kind before it takes the other. */
  const become = (kind: number) => {
    if (held && !tryLockFd(fd, path, kind)) release()
    return held
  }
  return {
    share: () => become(memory.LOCK_SH),
    unshare: () => become(memory.LOCK_EX),
    release,
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

/** Whether a process holds the lock on `path`, as the kernel lists it; nobody is kept from taking it meanwhile. */
export function isHeldBy(path: string, pid: number): boolean {
  const inode = statSync(path, { throwIfNoEntry: false })?.ino
  // not by its device, which is another one here than in stat() on some file systems
  const held = new RegExp(String.raw`^\d+: FLOCK +\S+ +\S+ +${pid} +\S+:${inode} `, 'm')
  return held.test(readFileSync('/proc/locks', 'utf8'))
}

function isAt(path: string, fd: number): boolean {
  try {
    return statSync(path).ino === fstatSync(fd).ino
  } catch {
    return false
  }
}
