/**
 * Whether a file was ever cut below a place, also where it has been lengthened again since: its size tells only how it is now.
 *
 * A page of a private mapping of the file that has been written to is ours alone, whatever is written to the file, until the file
 * is cut below it: then the kernel takes it away. So a mark is laid there; where it is gone, the file was cut, or emptied and
 * written anew. Touching what is beyond the end is SIGBUS, so the mark is laid and looked at by system calls, for which it is
 * EFAULT. Not seen are cuts within the page, and those that another machine makes and undoes on a network file system.
 */
import { randomBytes } from 'node:crypto'
import * as memory from '../abi/memory.ts'
import { Iovec } from '../abi/socket.ts'
import { Unwind } from '../lib/unwind.ts'
import { mmap, munmap, returnMappings, takeMapping } from './address-space.ts'
import { bytesAt, cFunction, permanent, systemError } from './ffi.ts'

// of this process itself, which no rule about other processes forbids
const COPY = ['int', 'ptr', 'size', 'ptr', 'size', 'size'] as const
const copyOut = cFunction('process_vm_readv', 'size', COPY)
const copyIn = cFunction('process_vm_writev', 'size', COPY)

const PAGE = 4096
const MARK = randomBytes(8)

export class CutWatch {
  readonly #address: number
  #open = true

  private constructor(address: number) {
    this.#address = address
  }

  /**
   * Watches from now on.
   *
   * @param fd  open for reading; it may be closed afterwards
   * @param end bytes of the file that are to stay; more than 0
   * @returns undefined where this file cannot be watched: it cannot be mapped, its last page cannot be read, or the system calls
   *          are forbidden
   * @throws ENOSPC, ENOMEM too many mappings
   */
  static over(fd: number, end: number): CutWatch | undefined {
    using undo = new Unwind()
    takeMapping('watch a file')
    undo.defer(() => returnMappings(1))
    const access = memory.PROT_READ | memory.PROT_WRITE
    const start = end - 1 - ((end - 1) % PAGE)
    const address = mmap(0, PAGE, access, memory.MAP_PRIVATE, fd, start)
    if (address < 0) {
      const error = systemError('mmap a file to watch')
      if (error.code === 'ENOMEM') throw error
      return undefined
    }
    undo.defer(() => munmap(address, PAGE))
    scratch.set(MARK)
    if (copy(copyIn, address) !== MARK.length) return undefined
    undo.keep()
    return new CutWatch(address)
  }

  /** Whether the file was cut since. Once it is, it stays so. */
  get cut(): boolean {
    return copy(copyOut, this.#address) !== MARK.length || MARK.compare(scratch) !== 0
  }

  /** Idempotent; it must not be asked any more. */
  close(): void {
    if (!this.#open) return
    this.#open = false
    munmap(this.#address, PAGE)
    returnMappings(1)
  }
}

/** The two vectors of a call, ours and theirs, and what is copied. */
const room = permanent(2 * Iovec.size + MARK.length)
const vectors = new DataView(bytesAt(room, 2 * Iovec.size))
const scratchAddress = room + 2 * Iovec.size
const scratch = new Uint8Array(bytesAt(scratchAddress, MARK.length))
const vector = Iovec.view()

/** Copies as many bytes as a mark has between `scratch` and an address that may not be there. @returns how many, or -1 */
function copy(how: typeof copyIn, address: number): number {
  aim(0, scratchAddress)
  aim(1, address)
  return how(process.pid, room, 1, room + Iovec.size, 1, 0)
}

function aim(index: number, address: number): void {
  vector.aim(vectors, index * Iovec.size)
  vector.iov_base = address
  vector.iov_len = MARK.length
}
