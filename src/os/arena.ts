/**
 * Mappings as views that never fault once unmapped.
 *
 * Files are mapped by MAP_FIXED into windows of reserved address space, each of which is one ArrayBuffer for ever.
 * Unmapping puts anonymous pages back, so a stale view reads zeros and its writes go nowhere. Addresses inside a window
 * are never given out twice, and a window goes only when no view of it is left for the collector to find.
 */
import { ErrnoError } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import * as memory from '../abi/memory.ts'
import { bytesAt, cFunction, systemError } from './ffi.ts'

const mmap = cFunction('mmap', 'size', ['ptr', 'size', 'int', 'int', 'int', 'size'])
const munmap = cFunction('munmap', 'int', ['ptr', 'size'])

export const PAGE_SIZE = 4096

/** Most bytes of a window: Node 20 aborts on a larger ArrayBuffer over foreign memory. */
const MAX_WINDOW = 4 * 2 ** 30
/** Making a window costs a collection (milliseconds), so small mappings share one. */
const MIN_WINDOW = 2 ** 30

/** A window's address space goes back when the collector has proved that nobody can see it any more. */
const windows = new FinalizationRegistry<{ address: number; size: number }>(({ address, size }) => {
  munmap(address, size)
})

interface Window {
  readonly address: number
  readonly buffer: ArrayBuffer
  readonly size: number
  used: number
}

/** File memory mapped into this process. */
export interface Mapping {
  /** The bytes; after `unmap` they are private zeros. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /** Puts anonymous pages in the place of the file's; idempotent. */
  unmap(): void
}

/** Where one owner's mappings live. Owners do not share windows, so no stale view reaches another's memory. */
export class Arena {
  #current: Window | undefined

  /**
   * Maps `length` bytes of a file.
   *
   * @param fd       stays the caller's; it may be closed afterwards
   * @param offset   in the file, bytes, page aligned
   * @param length   bytes, page aligned, at most 4 GiB
   * @param writable whether stores reach the file; without it they stay private to this process and harm nobody
   * @throws EINVAL unaligned, empty or too long · ENODEV, EACCES, ENOMEM from mmap
   */
  map(fd: number, offset: number, length: number, writable: boolean): Mapping {
    if (
      offset % PAGE_SIZE !== 0 ||
      length % PAGE_SIZE !== 0 ||
      length <= 0 ||
      length > MAX_WINDOW
    ) {
      throw new ErrnoError(
        'EINVAL',
        `map ${bytes(length)} at ${hex(offset)} of a file: not whole pages up to 4 GiB`,
      )
    }
    const window = this.#windowFor(length)
    const address = window.address + window.used
    // MAP_PRIVATE keeps a read-only mapping coherent with the file while a stray store through the view cannot fault.
    const flags = memory.MAP_FIXED | (writable ? memory.MAP_SHARED : memory.MAP_PRIVATE)
    if (mmap(address, length, memory.PROT_READ | memory.PROT_WRITE, flags, fd, offset) < 0) {
      throw systemError(`mmap ${bytes(length)} of fd ${fd}`)
    }
    const view = new Uint8Array(window.buffer, window.used, length)
    window.used += length
    let mapped = true
    return {
      bytes: view,
      unmap() {
        if (!mapped) return
        mapped = false
        poison(address, length)
      },
    }
  }

  #windowFor(length: number): Window {
    const current = this.#current
    if (current !== undefined && current.size - current.used >= length) return current
    const size = Math.max(length, MIN_WINDOW)
    const address = mmap(0, size, memory.PROT_READ | memory.PROT_WRITE, RESERVE, -1, 0)
    if (address < 0) throw systemError(`mmap: reserve ${bytes(size)} of address space`)
    const window = { address, buffer: bytesAt(address, size), size, used: 0 }
    windows.register(window.buffer, { address, size })
    this.#current = window
    return window
  }
}

const RESERVE = memory.MAP_PRIVATE | memory.MAP_ANONYMOUS | memory.MAP_NORESERVE

function poison(address: number, length: number): void {
  const flags = RESERVE | memory.MAP_FIXED
  if (mmap(address, length, memory.PROT_READ | memory.PROT_WRITE, flags, -1, 0) < 0) {
    throw systemError(`mmap: anonymous pages over ${bytes(length)}`)
  }
}
