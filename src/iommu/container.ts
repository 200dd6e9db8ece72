/** The container: one client's DMA address space, an ordered map of IOVA ranges. */
import { Arena, PAGE_SIZE } from '../os/arena.ts'
import { closeFd } from '../os/fd.ts'
import { allOf } from '../lib/all-of.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { Unwind } from '../lib/unwind.ts'
import { bitmapSize, checkLogPageSize, DirtyLog, logIsOff } from './dirty-log.ts'
import {
  type Done,
  fileIdentity,
  type Memory,
  MessageMemory,
  openMemory,
  type RemoteMemory,
} from './memory.ts'

/** Most bytes of one map, as libvfio-user has it. */
const MAX_MAP_SIZE = 8 * 2 ** 40
/** Most maps that keep their fd, so that no client uses up the fds of the process. */
const MAX_KEPT_FDS = 256

/** What a client maps. */
export interface DmaMap {
  /** Bytes, page aligned, like `size`. */
  readonly iova: number
  readonly size: number
  /** Whether the device may read from it. */
  readonly readable: boolean
  /** Whether the device may write to it. */
  readonly writable: boolean
  /** What backs it: an fd, owned by the container from the call on, and where the range lies in it. */
  readonly file?: { readonly fd: number; readonly offset: number }
}

interface Entry extends DmaMap {
  readonly end: number
  readonly memory: Memory
  /** Of the file that backs it. */
  readonly identity: string | undefined
}

export class Container {
  /** What the device has written; off until it is started. */
  readonly dirtyLog = new DirtyLog()
  readonly #maxMaps: number
  readonly #remote: RemoteMemory
  readonly #arena = new Arena()
  /** Sorted by iova; they do not overlap. */
  readonly #entries: Entry[] = []
  #last: Entry | undefined
  #keptFds = 0

  /**
   * @param maxMaps most maps at a time
   * @param remote  reaches what the client maps without a file
   */
  constructor(maxMaps: number, remote: RemoteMemory) {
    this.#maxMaps = maxMaps
    this.#remote = remote
  }

  /** Maps at this moment. */
  get count(): number {
    return this.#entries.length
  }

  /**
   * Maps client memory.
   *
   * The same map again changes nothing, as QEMU and libvfio-user have it.
   *
   * @throws EINVAL unaligned, empty, wrapping, or beyond the file · EEXIST overlaps a map · ENOSPC too large, too many
   *         maps · EACCES, EPERM the file does not grant what is asked for · EOPNOTSUPP a file of huge pages
   * @see vfio-user protocol, VFIO_USER_DMA_MAP
   */
  map(map: DmaMap): void {
    const { file } = map
    using undo = new Unwind()
    if (file !== undefined) undo.defer(() => closeFd(file.fd))
    const at = this.#placeFor(map)
    if (at === undefined) return
    const identity = file && fileIdentity(file.fd)
    undo.keep() // openMemory owns the fd from here on
    const memory =
      file === undefined
        ? new MessageMemory(this.#remote, map.iova)
        : openMemory(this.#arena, { ...map, ...file })
    if (memory.keepsFd && ++this.#keptFds > MAX_KEPT_FDS) {
      this.#close(memory)
      throw new ErrnoError(
        'ENOSPC',
        `${describe(map)}: ${MAX_KEPT_FDS} maps by file I/O are the most`,
      )
    }
    this.#entries.splice(at, 0, { ...map, end: map.iova + map.size, memory, identity })
  }

  #close(memory: Memory): void {
    if (memory.keepsFd) this.#keptFds--
    memory.close()
  }

  /** @throws EINVAL, EEXIST, ENOSPC @returns where it goes in the order; undefined when it is there already */
  #placeFor(map: DmaMap): number | undefined {
    const { iova, size, readable, writable, file } = map
    const what = describe(map)
    if (size <= 0 || iova < 0 || size % PAGE_SIZE !== 0 || iova % PAGE_SIZE !== 0) {
      throw new ErrnoError('EINVAL', `${what}: not whole pages`)
    }
    if (!Number.isSafeInteger(iova + size)) throw new ErrnoError('EINVAL', `${what}: wraps`)
    if (size > MAX_MAP_SIZE) throw new ErrnoError('ENOSPC', `${what}: beyond 8 TiB`)
    const at = this.#indexAfter(iova)
    const before = this.#entries[at - 1]
    const same = before?.iova === iova && before.size === size
    if (
      same &&
      before.readable === readable &&
      before.writable === writable &&
      before.file?.offset === file?.offset &&
      before.identity === (file && fileIdentity(file.fd))
    ) {
      return undefined
    }
    const next = this.#entries[at]
    if (
      (before !== undefined && before.end > iova) ||
      (next !== undefined && next.iova < iova + size)
    ) {
      throw new ErrnoError('EEXIST', `${what}: overlaps a map`)
    }
    if (this.#entries.length >= this.#maxMaps)
      throw new ErrnoError('ENOSPC', `${what}: ${this.#maxMaps} maps are the most`)
    return at
  }

  /**
   * Takes one map away; views of it read zeros from now on.
   *
   * @throws ENOENT no map has exactly this range
   */
  unmap(iova: number, size: number): void {
    const at = this.#indexAfter(iova) - 1
    const entry = this.#entries[at]
    if (entry === undefined || entry.iova !== iova || entry.size !== size) {
      throw new ErrnoError('ENOENT', `dma unmap ${hex(iova)}+${hex(size)}: not a map`)
    }
    this.#entries.splice(at, 1)
    this.#last = undefined
    this.dirtyLog.forget(iova, size)
    this.#close(entry.memory)
  }

  /** Takes all maps away. */
  unmapAll(): void {
    this.#last = undefined
    this.dirtyLog.forgetAll()
    using undo = new Unwind() // each is closed, even after one that throws
    for (const { memory } of this.#entries.splice(0)) undo.defer(() => this.#close(memory))
  }

  /**
   * Copies client memory, across maps.
   *
   * @returns a promise where part of it has to be asked of the client
   * @throws EFAULT not mapped · EACCES not readable; the promise rejects with what the client says
   */
  read(iova: number, target: Uint8Array): Done {
    return this.#walk(iova, target, 'readable', (entry, offset, part) =>
      entry.memory.read(offset, part),
    )
  }

  /** Copies into client memory, as {@link read} does from it. @throws EFAULT not mapped · EACCES not writable */
  write(iova: number, source: Uint8Array): Done {
    return this.#walk(iova, source, 'writable', (entry, offset, part) => {
      if (entry.file !== undefined) this.dirtyLog.wrote(entry.iova + offset, part.length)
      return entry.memory.write(offset, part)
    })
  }

  /** Client memory itself, inside one map that grants reading. @throws EFAULT, EACCES, EOPNOTSUPP */
  view(iova: number, length: number): Uint8Array {
    const entry = this.#find(iova, 'readable')
    if (!(length >= 0 && length <= entry.end - iova))
      throw new ErrnoError('EFAULT', `dma view ${hex(iova)}+${hex(length)}: crosses its map`)
    const view = entry.memory.view(iova - entry.iova, length)
    if (entry.writable) this.dirtyLog.viewed(iova, length)
    return view
  }

  /**
   * How large the bitmap of {@link takeDirty} is for a map.
   *
   * @param pageSize a power of two, from 4096 on
   * @throws EINVAL bad page size; the log is off; a map without a file, to which the client itself writes · ENOENT no map
   *         starts there · EOPNOTSUPP not all of one map
   * @see vfio-user protocol, DMA_LOGGING_REPORT
   */
  dirtyBitmapSize(iova: number, size: number, pageSize: number): number {
    const what = `dirty pages of ${hex(iova)}+${hex(size)}`
    checkLogPageSize(pageSize)
    if (!this.dirtyLog.isOn) throw logIsOff()
    const entry = this.#entries[this.#indexAfter(iova) - 1]
    if (entry === undefined || iova >= entry.end) throw new ErrnoError('ENOENT', `${what}: no map`)
    if (entry.iova !== iova || entry.size !== size)
      throw new ErrnoError('EOPNOTSUPP', `${what}: not all of one map`)
    if (entry.file === undefined)
      throw new ErrnoError('EINVAL', `${what}: a map without a file, which only the client writes`)
    return bitmapSize(size, pageSize)
  }

  /**
   * Sets the bits of the pages of a map that were written since the last call.
   *
   * @param bitmap of {@link dirtyBitmapSize}, zeroed; bit n, LSB first, is page n of the map
   * @throws as {@link dirtyBitmapSize}
   */
  takeDirty(iova: number, size: number, pageSize: number, bitmap: Uint8Array): void {
    this.dirtyBitmapSize(iova, size, pageSize)
    this.dirtyLog.report(iova, size, pageSize, bitmap)
  }

  #walk(
    iova: number,
    buffer: Uint8Array,
    right: 'readable' | 'writable',
    access: (entry: Entry, offset: number, part: Uint8Array) => Done,
  ): Done {
    let pending: Promise<void>[] | undefined
    for (let done = 0; done < buffer.length;) {
      const entry = this.#find(iova + done, right)
      const length = Math.min(buffer.length - done, entry.end - iova - done)
      const part = length === buffer.length ? buffer : buffer.subarray(done, done + length)
      const under = access(entry, iova + done - entry.iova, part)
      if (under !== undefined) (pending ??= []).push(under)
      done += length
    }
    return pending && allOf(pending)
  }

  #find(iova: number, right: 'readable' | 'writable'): Entry {
    let entry = this.#last
    if (entry === undefined || !(iova >= entry.iova && iova < entry.end)) {
      entry = this.#entries[this.#indexAfter(iova) - 1]
      if (entry === undefined || iova >= entry.end || !(iova >= 0)) {
        throw new ErrnoError('EFAULT', `dma at ${hex(iova)}: not mapped`)
      }
      this.#last = entry
    }
    if (!entry[right])
      throw new ErrnoError('EACCES', `dma at ${hex(iova)}: mapped, but not ${right}`)
    return entry
  }

  /** Index of the first entry that starts after `iova`. */
  #indexAfter(iova: number): number {
    let low = 0
    let high = this.#entries.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((this.#entries[middle]?.iova ?? 0) <= iova) low = middle + 1
      else high = middle
    }
    return low
  }
}

function describe({ iova, size }: DmaMap): string {
  return `dma map ${hex(iova)}+${hex(size)}`
}
