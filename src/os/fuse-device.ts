/** One connection of /dev/fuse: requests come in, replies and notifications go out. */
import { constants, openSync } from 'node:fs'
import { constants as os } from 'node:os'
import { ErrnoError } from '../lib/errno.ts'
import { closeFd, fdFlags, O_NONBLOCK, setFdFlags } from './fd.ts'
import { addressOf, cFunction, lastErrno, systemError } from './ffi.ts'

const cRead = cFunction('read', 'size', ['int', 'ptr', 'size'])
const cWrite = cFunction('write', 'size', ['int', 'ptr', 'size'])

const { EAGAIN, EINTR, ENODEV, ENOENT } = os.errno
const O_CLOEXEC = 0o2000000

/** What {@link FuseDevice.receive} returns when nothing is there, and when nothing will ever be again. */
export const NOTHING_YET = 0
export const UNMOUNTED = -1

/**
 * Opens /dev/fuse for a connection that a mount makes later.
 *
 * @returns a non-blocking fd
 * @throws ENODEV the kernel or the container has none · EACCES
 */
export function openFuseDevice(): number {
  try {
    return openSync('/dev/fuse', constants.O_RDWR | O_NONBLOCK | O_CLOEXEC)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOENT' && code !== 'ENODEV' && code !== 'ENXIO') throw error
    const remedy = 'load the kernel module (modprobe fuse), or give the container the device'
    throw new ErrnoError('ENODEV', `no /dev/fuse: ${remedy}`, { cause: error })
  }
}

/** Owns an fd of /dev/fuse. Nothing of the mount itself may be touched by this process: it would wait for itself. */
export class FuseDevice {
  readonly fd: number
  /** What {@link receive} has read. */
  readonly bytes: Uint8Array<ArrayBuffer>
  readonly #address: number
  #sending: { readonly bytes: Uint8Array; readonly address: number } | undefined
  #open = true

  /**
   * @param fd       taken over; made non-blocking
   * @param capacity bytes of the largest request
   */
  constructor(fd: number, capacity: number) {
    this.fd = fd
    this.bytes = new Uint8Array(capacity)
    this.#address = addressOf(this.bytes)
    setFdFlags(fd, fdFlags(fd) | O_NONBLOCK)
  }

  /** Reads one request into `bytes`. @returns its length, {@link NOTHING_YET} or {@link UNMOUNTED} */
  receive(): number {
    for (;;) {
      if (!this.#open) return UNMOUNTED
      const count = cRead(this.fd, this.#address, this.bytes.length)
      if (count >= 0) return count
      const errno = lastErrno()
      if (errno === EAGAIN) return NOTHING_YET
      if (errno === ENODEV) return UNMOUNTED
      // ENOENT: the request was taken back while it was read; the next may be there
      if (errno !== EINTR && errno !== ENOENT) throw systemError(`read fd ${this.fd} of /dev/fuse`)
    }
  }

  /**
   * Sends the first `length` of `bytes`: a reply, or a notification that takes no lock.
   *
   * @returns false where nobody waits for it any more, or nobody has what it is about
   * @throws EINVAL it is malformed
   */
  send(bytes: Uint8Array, length: number): boolean {
    if (!this.#open) return false
    // nearly always the same buffer, and its address costs more than all else here
    if (this.#sending?.bytes !== bytes) this.#sending = { bytes, address: addressOf(bytes) }
    if (cWrite(this.fd, this.#sending.address, length) >= 0) return true
    const errno = lastErrno()
    if (errno === ENOENT || errno === ENODEV || errno === EINTR) return false
    throw systemError(`write fd ${this.fd} of /dev/fuse`)
  }

  /** Whoever waits for a reply, or asks something later, gets ENOTCONN. Idempotent. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    closeFd(this.fd)
  }
}
