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
import {
  mmap,
  munmap,
  returnAddressSpace,
  returnMappings,
  takeAddressSpace,
  takeMapping,
} from './address-space.ts'
import { isHugePageFile } from './fd.ts'
import { bytesAt, systemError } from './ffi.ts'

export const PAGE_SIZE = 4096

/** Most bytes of a window: Node 20 aborts on a larger ArrayBuffer over foreign memory. */
const MAX_WINDOW = 4 * 2 ** 30
/** Making a window costs a collection (milliseconds), so small mappings share one. */
const MIN_WINDOW = 2 ** 30

/** What a window takes. */
interface Extent {
  readonly address: number
  readonly size: number
  mappings: number
}

/** A window's address space goes back when the collector has proved that nobody can see it any more. */
const windows = new FinalizationRegistry<Extent>((extent) => {
  munmap(extent.address, extent.size)
  returnAddressSpace(extent.size)
  returnMappings(extent.mappings)
})

interface Window {
  readonly extent: Extent
  readonly buffer: ArrayBuffer
  used: number
}

/** File memory mapped into this process. */
export interface Mapping {
  /** The bytes; after `unmap` they are private zeros. */
  readonly bytes: Uint8Array<ArrayBuffer>
  /**
   * Puts the same range of another file in the place of this one's: every view shows that file from now on.
   *
   * @param fd stays the caller's; the file is as large as the one before, and may be written where that one may
   * @throws EACCES, EPERM, ENOMEM from mmap: the bytes are private zeros then
   */
  replace(fd: number): void
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
   * @throws EINVAL unaligned, empty or too long · EOPNOTSUPP a file of huge pages · ENOSPC too many mappings or bytes in
   *         this process · ENODEV, EACCES, EPERM, ENOMEM from mmap
   */
  map(fd: number, offset: number, length: number, writable: boolean): Mapping {
    if (
      offset < 0 ||
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
    // mmap rounds their length up to whole huge pages, so it would go beyond the window.
    if (isHugePageFile(fd))
      throw new ErrnoError('EOPNOTSUPP', `map ${bytes(length)} of a file: it is of huge pages`)
    const window = this.#windowFor(length)
    takeMapping(`map ${bytes(length)}`)
    const { extent } = window
    const address = extent.address + window.used
    // MAP_PRIVATE keeps a read-only mapping coherent with the file while a stray store through the view cannot fault.
    const flags =
      memory.MAP_FIXED | (writable ? memory.MAP_SHARED : memory.MAP_PRIVATE | memory.MAP_NORESERVE)
    if (mmap(address, length, memory.PROT_READ | memory.PROT_WRITE, flags, fd, offset) < 0) {
      const error = systemError(`mmap ${bytes(length)} of fd ${fd}`)
      returnMappings(1)
      mapAnonymous(address, length) // before Linux 6.12 a refusal may leave a hole, into which anybody could map
      throw error
    }
    const view = new Uint8Array(window.buffer, window.used, length)
    window.used += length
    extent.mappings++
    let mapped = true
    return {
      bytes: view,
      replace(other) {
        if (!mapped)
          throw new ErrnoError('EINVAL', `map fd ${other}: what it should replace is gone`)
        if (
          mmap(address, view.length, memory.PROT_READ | memory.PROT_WRITE, flags, other, offset) < 0
        ) {
          const error = systemError(`mmap ${bytes(view.length)} of fd ${other}`)
          poison(address, view.length)
          throw error
        }
      },
      unmap() {
        if (!mapped) return
        poison(address, view.length) // through the view: while this can be called, the window must stay
        mapped = false
        returnMappings(1)
        extent.mappings--
      },
    }
  }

  #windowFor(length: number): Window {
    const current = this.#current
    if (current !== undefined && current.extent.size - current.used >= length) return current
    const size = Math.max(length, MIN_WINDOW)
    const what = `reserve ${bytes(size)} of address space`
    takeAddressSpace(size, what)
    const address = mmap(0, size, memory.PROT_READ | memory.PROT_WRITE, RESERVE, -1, 0)
    if (address < 0) {
      returnAddressSpace(size)
      throw systemError(what)
    }
    const extent: Extent = { address, size, mappings: 0 }
    const window = { extent, buffer: bytesAt(address, size), used: 0 }
    windows.register(window.buffer, extent)
    this.#current = window
    return window
  }
}

const RESERVE = memory.MAP_PRIVATE | memory.MAP_ANONYMOUS | memory.MAP_NORESERVE

function poison(address: number, length: number): void {
  if (mapAnonymous(address, length) < 0)
    throw systemError(`mmap: anonymous pages over ${bytes(length)}`)
}

function mapAnonymous(address: number, length: number): number {
  const flags = RESERVE | memory.MAP_FIXED
  return mmap(address, length, memory.PROT_READ | memory.PROT_WRITE, flags, -1, 0)
}
