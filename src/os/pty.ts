/**
 * Pseudo-terminals: a place where any terminal program can be at the other end.
 *
 * The slave is raw and has no echo from the start. The kernel tells the master's poll when the last program closes the
 * slave, but not when the first opens it, and a hang-up is reported level-triggered for as long as nobody is there. So the
 * master is watched edge-triggered, and opening is learnt from inotify: waiting for somebody costs nothing.
 */
import { closeSync, constants, openSync } from 'node:fs'
import { Unwind } from '../lib/unwind.ts'
import { closeFd } from './fd.ts'
import { addressOf, cFunction, check, lastErrno, systemError } from './ffi.ts'
import type { Peer, PeerEvents } from './peer.ts'
import {
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLL_ENDED,
  reactor,
  type Watch,
} from './reactor.ts'

const posixOpenpt = cFunction('posix_openpt', 'int', ['int'])
const grantpt = cFunction('grantpt', 'int', ['int'])
const unlockpt = cFunction('unlockpt', 'int', ['int'])
const ptsnameR = cFunction('ptsname_r', 'int', ['int', 'ptr', 'size'])
const tcgetattr = cFunction('tcgetattr', 'int', ['int', 'ptr'])
const cfmakeraw = cFunction('cfmakeraw', 'void', ['ptr'])
const tcsetattr = cFunction('tcsetattr', 'int', ['int', 'int', 'ptr'])
const readFd = cFunction('read', 'size', ['int', 'ptr', 'size'])
const writeFd = cFunction('write', 'size', ['int', 'ptr', 'size'])
const poll = cFunction('poll', 'int', ['ptr', 'u64', 'int'])
const inotifyInit1 = cFunction('inotify_init1', 'int', ['int'])
const inotifyAddWatch = cFunction('inotify_add_watch', 'int', ['int', 'ptr', 'u32'])
const inotifyRmWatch = cFunction('inotify_rm_watch', 'int', ['int', 'int'])

const O_CLOEXEC = 0o2000000 // also IN_CLOEXEC
const { EAGAIN, EIO } = { EAGAIN: 11, EIO: 5 } // asm-generic/errno-base.h
const IN_OPEN = 0x20 // linux/inotify.h
const INOTIFY_EVENT_SIZE = 16 // wd, mask, cookie, len; no name follows for a watched file
const TCSANOW = 0
/** More than any struct termios (60 bytes with glibc on x86-64), which only the C library looks into. */
const TERMIOS_SIZE = 256
const PTS_NAME_SIZE = 64

/**
 * Opens a pseudo-terminal; any terminal program can use its `path`.
 *
 * ```ts
 * const pty = openPty({
 *   onReadable() {
 *     for (let count; (count = pty.read(buffer)) > 0; ) receive(buffer.subarray(0, count))
 *   },
 * })
 * console.log(`screen ${pty.path}`)
 * ```
 *
 * @throws ENOSPC no pseudo-terminals left · EMFILE no fds or no inotify instances left
 */
export function openPty(events: PeerEvents = {}): Peer {
  return new Pty(events)
}

class Pty implements Peer {
  readonly path: string
  readonly #fd: number
  readonly #events: PeerEvents
  readonly #watch: Watch
  readonly #endOpens: () => void
  #present = false
  #open = true
  #readable = false // told so, and not yet read to the end
  #full = false

  constructor(events: PeerEvents) {
    this.#events = events
    using undo = new Unwind()
    const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK | O_CLOEXEC
    const fd = check(posixOpenpt(flags), 'posix_openpt')
    undo.defer(() => closeFd(fd))
    check(grantpt(fd), 'grantpt')
    check(unlockpt(fd), 'unlockpt')
    this.#fd = fd
    this.path = slavePath(fd)
    makeRaw(this.path) // closing the slave again starts the hang-up that lasts until a program opens it
    this.#endOpens = watchOpens(this.path, () => this.#look(0))
    undo.defer(this.#endOpens)
    this.#watch = reactor().watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, (ready) => this.#look(ready))
    undo.keep()
  }

  get present(): boolean {
    return this.#present
  }

  read(into: Uint8Array): number {
    if (!this.#open || into.length === 0) return 0
    const count = readFd(this.#fd, addressOf(into), into.length)
    if (count > 0) return count
    this.#readable = false
    // EIO: read to the end of what the last program wrote before it closed.
    if (count < 0 && !isOneOf(lastErrno(), EAGAIN, EIO)) throw systemError(`read ${this.path}`)
    return 0
  }

  write(bytes: Uint8Array): number {
    if (!this.#open || bytes.length === 0) return 0
    if (!this.#present) return bytes.length
    const count = writeFd(this.#fd, addressOf(bytes), bytes.length)
    if (count < 0 && !isOneOf(lastErrno(), EAGAIN, EIO)) throw systemError(`write ${this.path}`)
    this.#full = count < bytes.length
    return Math.max(count, 0)
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#present = false
    this.#endOpens()
    this.#watch.close()
    closeFd(this.#fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }

  /** Something has happened. Coming is told before what was typed, going after it. */
  #look(ready: number): void {
    const hungUp = isHungUp(this.#fd)
    if (!hungUp) this.#setPresent(true)
    if (this.#open && ready & (EPOLLIN | EPOLL_ENDED) && !this.#readable) {
      this.#readable = true
      this.#events.onReadable?.()
    }
    if (this.#open && this.#full && ready & (EPOLLOUT | EPOLL_ENDED)) {
      this.#full = false
      this.#events.onWritable?.()
    }
    if (this.#open && hungUp) this.#setPresent(false)
  }

  #setPresent(present: boolean): void {
    if (present === this.#present) return
    this.#present = present
    this.#events.onPresence?.(present)
  }
}

function isOneOf(value: number, ...values: readonly number[]): boolean {
  return values.includes(value)
}

function slavePath(fd: number): string {
  const name = Buffer.alloc(PTS_NAME_SIZE)
  check(-ptsnameR(fd, addressOf(name), name.length), 'ptsname_r') // returns a positive errno
  return name.toString('latin1', 0, name.indexOf(0))
}

function makeRaw(path: string): void {
  const fd = openSync(path, constants.O_RDWR | constants.O_NOCTTY)
  try {
    const termios = new Uint8Array(TERMIOS_SIZE)
    const address = addressOf(termios)
    check(tcgetattr(fd, address), `tcgetattr ${path}`)
    cfmakeraw(address)
    check(tcsetattr(fd, TCSANOW, address), `tcsetattr ${path}`)
    termios.fill(0) // keeps it referenced until here
  } finally {
    closeSync(fd)
  }
}

/** struct pollfd: fd, events, revents. One for all, as nobody waits in it. */
const pollFd = new DataView(new ArrayBuffer(8))
const pollFdAddress = addressOf(pollFd)

function isHungUp(fd: number): boolean {
  pollFd.setInt32(0, fd, true)
  pollFd.setInt32(4, 0, true)
  return poll(pollFdAddress, 1, 0) > 0 && (pollFd.getUint16(6, true) & EPOLLHUP) !== 0
}

/** One inotify instance for all terminals of the process: a user has few of them. */
let opens: { fd: number; watch: Watch; listeners: Map<number, () => void> } | undefined

/** Calls `onOpen` when somebody opens `path`. @returns what ends it */
function watchOpens(path: string, onOpen: () => void): () => void {
  const { fd, listeners } = (opens ??= startOpens())
  const stop = () => {
    if (listeners.size > 0) return
    opens?.watch.close()
    closeFd(fd)
    opens = undefined
  }
  const name = Buffer.from(`${path}\0`)
  const id = inotifyAddWatch(fd, addressOf(name), IN_OPEN)
  if (id < 0) {
    const error = systemError(`inotify_add_watch ${path}`)
    stop()
    throw error
  }
  listeners.set(id, onOpen)
  return () => {
    if (!listeners.delete(id)) return
    inotifyRmWatch(fd, id)
    stop()
  }
}

function startOpens(): NonNullable<typeof opens> {
  const fd = check(inotifyInit1(constants.O_NONBLOCK | O_CLOEXEC), 'inotify_init1')
  const listeners = new Map<number, () => void>()
  const events = new DataView(new ArrayBuffer(INOTIFY_EVENT_SIZE * 64))
  const address = addressOf(events)
  const onReady = () => {
    const length = readFd(fd, address, events.byteLength)
    for (let at = 0; at < length; at += INOTIFY_EVENT_SIZE) {
      if ((events.getUint32(at + 4, true) & IN_OPEN) === 0) continue // the watch has ended
      listeners.get(events.getInt32(at, true))?.()
    }
  }
  return { fd, watch: reactor().watch(fd, EPOLLIN, onReady), listeners }
}
