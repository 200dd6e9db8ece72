/**
 * Files mapped for this process's own checked use: the views are never handed out, so what is unmapped is gone at once.
 *
 * A mapping may reach beyond the end of its file, so that it need not be made again when the file grows. Touching what is
 * beyond the end is SIGBUS, which ends the process: whoever takes a view says how much of the file there is.
 */
import * as memory from '../abi/memory.ts'
import { bytes, hex } from '../lib/format.ts'
import { Unwind } from '../lib/unwind.ts'
import {
  mmap,
  munmap,
  returnAddressSpace,
  returnMappings,
  takeAddressSpace,
  takeMapping,
} from './address-space.ts'
import { bytesAt, systemError } from './ffi.ts'

/** Most bytes of one mapping: Node 20 aborts on a larger ArrayBuffer over foreign memory. */
export const MAX_FILE_MAPPING = 2 ** 32

export class FileMapping {
  /** Where it starts in this process; it stays there until `unmap`. */
  readonly address: number
  /** Where it starts in the file, bytes. */
  readonly offset: number
  readonly length: number
  #bytes = NO_BYTES
  #mapped = true

  /**
   * @param fd       stays the caller's; it may be closed afterwards
   * @param offset   bytes, page aligned, like `length`
   * @param length   at most {@link MAX_FILE_MAPPING}
   * @param writable else a store is SIGSEGV. The mapping is shared either way: locking the pages of a private one copies them
   * @throws ENOSPC too many mappings or bytes in this process · ENODEV, EACCES, EPERM, ENOMEM, EOVERFLOW from mmap
   */
  constructor(fd: number, offset: number, length: number, writable: boolean) {
    const what = `map ${bytes(length)} at ${hex(offset)} of fd ${fd}`
    using undo = new Unwind()
    takeMapping(what)
    undo.defer(() => returnMappings(1))
    takeAddressSpace(length, what)
    undo.defer(() => returnAddressSpace(length))
    const access = writable ? memory.PROT_READ | memory.PROT_WRITE : memory.PROT_READ
    this.address = mmap(0, length, access, memory.MAP_SHARED, fd, offset)
    if (this.address < 0) throw systemError(what)
    undo.keep()
    this.offset = offset
    this.length = length
  }

  /**
   * The first `length` bytes of it, or more; what is beyond the end of the file must not be touched.
   *
   * @param length bytes; the file must reach that far, and be unable to shrink
   */
  bytes(length: number): Uint8Array<ArrayBuffer> {
    if (this.#bytes.length < length && this.#mapped) {
      // A view of gigabytes costs milliseconds, so one that is asked for more and more at least doubles.
      const size = Math.min(this.length, 2 ** Math.ceil(Math.log2(length)))
      this.#bytes = new Uint8Array(bytesAt(this.address, size))
    }
    return this.#bytes
  }

  /** Idempotent. No view may be used afterwards. */
  unmap(): void {
    if (!this.#mapped) return
    this.#mapped = false
    this.#bytes = NO_BYTES
    munmap(this.address, this.length)
    returnMappings(1)
    returnAddressSpace(this.length)
  }
}

const NO_BYTES = new Uint8Array(0)
