/** Fds of every kind that a hostile client may send, made when they are first wanted. */
import {
  closeSync,
  constants,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EventFd } from '../../src/os/eventfd.ts'
import { addFileSeals, O_PATH } from '../../src/os/fd.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { makeBlockingEventfd, makeMemfd, makePipe, makeTimerfd, MFD_ALLOW_SEALING } from './fds.ts'

/** Bytes of the files that back memory. */
export const FILE_SIZE = 0x1_0000
/** Of one that takes more than one window of address space; nobody touches much of it. */
const HUGE_SIZE = 6 * 2 ** 30
/** <linux/fcntl.h> */
const F_SEAL_WRITE = 8

type Make = (gifts: Gifts) => number

const MAKERS = {
  sealed: () => createMemfd('fuzz', FILE_SIZE),
  sealable: () => sized(makeMemfd(MFD_ALLOW_SEALING)),
  shrinking: () => sized(makeMemfd(0)),
  huge: () => createMemfd('fuzz-huge', HUGE_SIZE),
  'sealed against writing': () => {
    const fd = sized(makeMemfd(MFD_ALLOW_SEALING))
    addFileSeals(fd, F_SEAL_WRITE)
    return fd
  },
  empty: () => makeMemfd(MFD_ALLOW_SEALING),
  'file on disk': (gifts) => gifts.open('file', constants.O_RDWR | constants.O_CREAT, FILE_SIZE),
  'read-only file': (gifts) =>
    gifts.open('read-only', constants.O_RDONLY | constants.O_CREAT, FILE_SIZE),
  'write-only file': (gifts) =>
    gifts.open('write-only', constants.O_WRONLY | constants.O_CREAT, FILE_SIZE),
  'appending file': (gifts) =>
    gifts.open('append', constants.O_RDWR | constants.O_APPEND | constants.O_CREAT, FILE_SIZE),
  'path only': (gifts) => gifts.open('', O_PATH),
  directory: (gifts) => gifts.open('', constants.O_RDONLY),
  zero: () => openSync('/dev/zero', 'r+'),
  'file of proc': () => openSync('/proc/self/status', 'r'),
  eventfd: () => EventFd.create().fd,
  'blocking eventfd': () => makeBlockingEventfd(),
  'full eventfd': () => {
    const fd = makeBlockingEventfd()
    writeSync(fd, BigUint64Array.of(2n ** 64n - 2n))
    return fd
  },
  timer: () => makeTimerfd(),
  'pipe to read': (gifts) => gifts.keepOther(makePipe()),
  'pipe to write': (gifts) => gifts.keepOther(makePipe().toReversed()),
  socket: (gifts) => gifts.keepOther(socketPair()),
} as const satisfies Record<string, Make>

export type GiftKind = keyof typeof MAKERS

export const ALL_GIFTS = Object.keys(MAKERS) as GiftKind[]
/** What can back memory. */
export const MEMORY_GIFTS: readonly GiftKind[] = ['sealed', 'sealable', 'shrinking', 'file on disk']
/** What interrupts go to. */
export const EVENT_GIFTS: readonly GiftKind[] = ['eventfd', 'blocking eventfd', 'full eventfd']

/** The fds of one session, closed with it. */
export class Gifts implements Disposable {
  readonly #fds = new Map<GiftKind, number>()
  readonly #others: number[] = []
  #directory: string | undefined

  get(kind: GiftKind): number {
    let fd = this.#fds.get(kind)
    if (fd === undefined) {
      fd = MAKERS[kind](this)
      this.#fds.set(kind, fd)
    }
    return fd
  }

  /** Cuts the files that can be cut, under whoever has them mapped. */
  truncate(): void {
    for (const kind of ['shrinking', 'sealable', 'file on disk'] as const) {
      const fd = this.#fds.get(kind)
      if (fd === undefined) continue
      try {
        ftruncateSync(fd, 0)
      } catch {
        // sealed by the server, as it should
      }
    }
  }

  /** For {@link MAKERS}: a file in a directory of this session, or with no name that directory. */
  open(name: string, flags: number, size?: number): number {
    this.#directory ??= mkdtempSync(join(tmpdir(), 'mdevkit-fuzz-'))
    const path = join(this.#directory, name)
    if (size !== undefined) {
      const fd = openSync(path, 'w')
      ftruncateSync(fd, size)
      closeSync(fd)
    }
    return openSync(path, flags)
  }

  /** For {@link MAKERS}: one of two fds is sent, the other keeps it alive. */
  keepOther([sent = -1, kept = -1]: readonly number[]): number {
    this.#others.push(kept)
    return sent
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds.values()) closeSync(fd)
    for (const fd of this.#others) closeSync(fd)
    if (this.#directory !== undefined) rmSync(this.#directory, { recursive: true })
  }
}

function sized(fd: number): number {
  ftruncateSync(fd, FILE_SIZE)
  return fd
}
