/** Eventfds: how interrupts leave and doorbells arrive. */
import * as socket from '../abi/socket.ts'
import { ErrnoError } from '../lib/errno.ts'
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

/** One eventfd, which this object owns and closes. */
export class EventFd implements Disposable {
  readonly #blockingFlags: number | undefined
  #fd: number

  private constructor(fd: number, blockingFlags?: number) {
    this.#fd = fd
    this.#blockingFlags = blockingFlags
  }

  /** A new one, non-blocking, with counter 0. */
  static create(): EventFd {
    return new EventFd(check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), 'eventfd'))
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
      return new EventFd(fd, (flags & O_NONBLOCK) === 0 ? flags : undefined)
    } catch (error) {
      closeFd(fd)
      throw error
    }
  }

  get fd(): number {
    return this.#fd
  }

  /** Adds 1 to the counter and so wakes who waits. A full counter has been signalled already. */
  signal(): void {
    if (this.#fd < 0) return
    if (this.#blockingFlags === undefined) {
      eventfdWrite(this.#fd, 1)
      return
    }
    // A peer may hand us a blocking eventfd and fill its counter; only a non-blocking write cannot hang on that.
    setFdFlags(this.#fd, this.#blockingFlags | O_NONBLOCK)
    eventfdWrite(this.#fd, 1)
    setFdFlags(this.#fd, this.#blockingFlags)
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
