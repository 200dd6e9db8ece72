/** File descriptors: what they are, and their flags. */
import { closeSync, constants, readlinkSync, statfsSync } from 'node:fs'
import * as memory from '../abi/memory.ts'
import { cFunction, check } from './ffi.ts'

const fcntl = cFunction('fcntl', 'int', ['int', 'int', 'int'])

export const { O_APPEND, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY } = constants
export const O_ACCMODE = 3
/** The fd names a file but does not open it: reading and writing it say EBADF. */
export const O_PATH = 0o10000000

/** Closes an fd that is ours. A failing close leaves nothing to do, so it is not reported. */
export function closeFd(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // EBADF would be a bug that tests find by counting fds; EIO has freed the fd all the same
  }
}

/** Closes all of them, as {@link closeFd} does one. */
export function closeFds(fds: Iterable<number>): void {
  for (const fd of fds) closeFd(fd)
}

/** The flags of open(2) that this description has now. @throws EBADF */
export function fdFlags(fd: number): number {
  return check(fcntl(fd, memory.F_GETFL, 0), `fcntl F_GETFL of fd ${fd}`)
}

/** Sets the status flags of the description, shared by everyone who has it. */
export function setFdFlags(fd: number, flags: number): void {
  check(fcntl(fd, memory.F_SETFL, flags), `fcntl F_SETFL of fd ${fd}`)
}

/** What the fd leads to, as the kernel words it: a path, `socket:[123]`, `anon_inode:[eventfd]`. */
export function fdTarget(fd: number): string {
  return readlinkSync(`/proc/self/fd/${fd}`)
}

const HUGETLBFS_MAGIC = 0x958458f6 // <linux/magic.h>

/** Whether the file consists of huge pages, in which mmap counts whatever it was asked for. */
export function isHugePageFile(fd: number): boolean {
  return statfsSync(`/proc/self/fd/${fd}`).type === HUGETLBFS_MAGIC
}

/** The seals of a memfd; undefined where the file cannot have any. */
export function fileSeals(fd: number): number | undefined {
  const seals = fcntl(fd, memory.F_GET_SEALS, 0)
  return seals < 0 ? undefined : seals
}

/** Adds seals; false where that is not allowed. */
export function addFileSeals(fd: number, seals: number): boolean {
  return fcntl(fd, memory.F_ADD_SEALS, seals) === 0
}
