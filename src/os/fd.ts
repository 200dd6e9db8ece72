/** File descriptors: what they are, and their flags. */
import { closeSync, readlinkSync } from 'node:fs'
import { constants } from 'node:fs'
import * as memory from '../abi/memory.ts'
import { cFunction, check } from './ffi.ts'

const fcntl = cFunction('fcntl', 'int', ['int', 'int', 'int'])

export const { O_ACCMODE, O_NONBLOCK, O_RDONLY, O_WRONLY } = { O_ACCMODE: 3, ...constants }

/** Closes an fd that is ours. A failing close leaves nothing to do, so it is not reported. */
export function closeFd(fd: number): void {
  try {
    closeSync(fd)
  } catch {
    // EBADF would be a bug that tests find by counting fds; EIO has freed the fd all the same
  }
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

/** The seals of a memfd; undefined where the file cannot have any. */
export function fileSeals(fd: number): number | undefined {
  const seals = fcntl(fd, memory.F_GET_SEALS, 0)
  return seals < 0 ? undefined : seals
}

/** Adds seals; false where that is not allowed. */
export function addFileSeals(fd: number, seals: number): boolean {
  return fcntl(fd, memory.F_ADD_SEALS, seals) === 0
}
