/** Eventfds: how interrupts leave and doorbells arrive. */
import * as socket from '../abi/socket.ts'
import { ErrnoError } from '../lib/errno.ts'
import { AioSignaller } from './aio-signal.ts'
import { bytesAt, cFunction, check, permanent } from './ffi.ts'
import { closeFd, fdFlags, fdTarget, O_ACCMODE, O_NONBLOCK, O_RDWR, setFdFlags } from './fd.ts'

const EFD_CLOEXEC = 0o2000000
const EFD_NONBLOCK = 0o4000
/** <linux/fs.h>: EAGAIN rather than waiting, whatever O_NONBLOCK says; eventfds know it since Linux 5.8. */
const RWF_NOWAIT = 0x8

const eventfd = cFunction('eventfd', 'int', ['u32', 'int'])
const eventfdWrite = cFunction('eventfd_write', 'int', ['int', 'u64'])
const preadv2 = cFunction('preadv2', 'size', ['int', 'ptr', 'int', 'size', 'int'])

/** An iovec and the 8 bytes it is for, where drain() lets the kernel put the counter, which nobody reads. */
const counterVector = permanent(socket.Iovec.size + 8)
{
  const vector = socket.Iovec.view().aim(new DataView(bytesAt(counterVector, socket.Iovec.size)))
  vector.iov_base = counterVector + socket.Iovec.size
  vector.iov_len = 8
}

let shared: AioSignaller | 'none' | undefined

/** The one of this process, made at its first use; undefined where there can be none. */
function signaller(): AioSignaller | undefined {
  shared ??= AioSignaller.create() ?? 'none'
  return shared === 'none' ? undefined : shared
}

/** The second best way: between the flags and the write a peer can still make it block, if it tries hard. */
function writeUnblocked(fd: number): void {
  const flags = fdFlags(fd)
  if ((flags & O_NONBLOCK) !== 0) {
    eventfdWrite(fd, 1)
    return
  }
  setFdFlags(fd, flags | O_NONBLOCK)
  eventfdWrite(fd, 1)
  setFdFlags(fd, flags)
}

/** One eventfd, which this object owns and closes. */
export class EventFd implements Disposable {
  /** Whether a peer has it too, and so can make a write block. */
  readonly #foreign: boolean
  #fd: number

  private constructor(fd: number, foreign: boolean) {
    this.#fd = fd
    this.#foreign = foreign
  }

  /** A new one, non-blocking, with counter 0. */
  static create(): EventFd {
    return new EventFd(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd'), false)
  }

  /**
   * Takes over an fd received from a peer; it is closed before this throws.
   *
   * @throws EINVAL it is no eventfd: writing to anything else could block, or spoil a file
   */
  static adopt(fd: number): EventFd {
    try {
      const target = fdTarget(fd)
      if (target !== 'anon_inode:[eventfd]')
        throw new ErrnoError('EINVAL', `fd of ${target}: not an eventfd`)
      const flags = fdFlags(fd)
      if ((flags & O_ACCMODE) !== O_RDWR)
        throw new ErrnoError('EINVAL', `fd of ${target}: opened with O_PATH, so of no use`)
      return new EventFd(fd, true)
    } catch (error) {
      closeFd(fd)
      throw error
    }
  }

  /** Makes now what the first signal to a peer would make: one fd, and a context of the kernel's. */
  static prepare(): void {
    signaller()
  }

  get fd(): number {
    return this.#fd
  }

  /** Adds 1 to the counter and so wakes who waits; never blocks. A full counter has been signalled already. */
  signal(): void {
    if (this.#fd < 0) return
    if (!this.#foreign) eventfdWrite(this.#fd, 1)
    else if (signaller()?.signal(this.#fd) !== true) writeUnblocked(this.#fd)
  }

  /** Takes the counter back to 0; does not wait, even on a blocking one. @returns false when it was 0 already */
  drain(): boolean {
    return this.#fd >= 0 && preadv2(this.#fd, counterVector, 1, -1, RWF_NOWAIT) > 0
  }

  close(): void {
    if (this.#fd < 0) return
    const fd = this.#fd
    this.#fd = -1 // before the close: the number may be given out again at once
    closeFd(fd)
  }

  [Symbol.dispose](): void {
    this.close()
  }
}
