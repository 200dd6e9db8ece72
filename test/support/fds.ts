/** The fds of this process: what is open, and ways to get some of every kind. */
import assert from 'node:assert/strict'
import { readdirSync, readlinkSync, writeSync } from 'node:fs'
import { addressOf, cFunction, check } from '../../src/os/ffi.ts'
import { closeFd } from '../../src/os/fd.ts'

const dup = cFunction('dup', 'int', ['int'])
const pipe2 = cFunction('pipe2', 'int', ['ptr', 'int'])
const eventfd = cFunction('eventfd', 'int', ['u32', 'int'])
const timerfdCreate = cFunction('timerfd_create', 'int', ['int', 'int'])
const memfdCreate = cFunction('memfd_create', 'int', ['ptr', 'u32'])

// <fcntl.h>, <linux/memfd.h>
const O_CLOEXEC = 0o2000000
export const MFD_ALLOW_SEALING = 2
export const MFD_HUGETLB = 4

/** Every open fd and what it leads to. */
export function openFds(): string[] {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/self/fd/${fd}`)}`]
    } catch {
      return [] // of the listing itself
    }
  })
}

/** Runs `body` and fails if it has left an fd open, or closed one that was not its own. */
export function assertKeepsFds(body: () => void): void {
  const before = openFds()
  body()
  assert.deepEqual(openFds(), before)
}

export function isOpen(fd: number): boolean {
  try {
    readlinkSync(`/proc/self/fd/${fd}`)
    return true
  } catch {
    return false
  }
}

/** Fds that are closed when the `using` scope ends, if they are open then. */
export class Fds implements Disposable {
  readonly #fds: number[] = []

  own(fd: number): number {
    this.#fds.push(fd)
    return fd
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) if (isOpen(fd)) closeFd(fd)
  }
}

export function duplicate(fd: number): number {
  return check(dup(fd), 'dup')
}

/** @returns the end to read from and the end to write to */
export function makePipe(): [number, number] {
  const pair = new Int32Array(2)
  check(pipe2(addressOf(pair), O_CLOEXEC), 'pipe2')
  return [pair[0] ?? -1, pair[1] ?? -1]
}

/** An eventfd whose reads and writes wait, with a counter of 0. */
export function makeBlockingEventfd(): number {
  return check(eventfd(0, O_CLOEXEC), 'eventfd')
}

/** Adds to the counter of an eventfd. */
export function addToEventfd(fd: number, value: bigint): void {
  writeSync(fd, new BigUint64Array([value]))
}

export function makeTimerfd(): number {
  return check(timerfdCreate(1, O_CLOEXEC), 'timerfd_create')
}

/** A memfd of no size and no seals. */
export function makeMemfd(flags: number): number {
  const name = Buffer.from('test\0')
  return check(memfdCreate(addressOf(name), flags | 1), 'memfd_create')
}
