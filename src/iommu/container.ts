/** The container: one client's DMA address space, which it maps and unmaps range by range. */
import { allOf } from '../lib/all-of.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { type Logger, silentLogger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { Arena, PAGE_SIZE } from '../os/arena.ts'
import { closeFd } from '../os/fd.ts'
import { type ClientFile, fileIdentity } from './client-file.ts'
import { createPins, type PinPayers, takePinsAway } from './container-pins.ts'
import { bitmapSize, checkLogPageSize, DirtyLog, logIsOff } from './dirty-log.ts'
import { GuestMemory } from './guest-memory.ts'
import { type DmaMap, MapEntry, type MapSupport } from './map-entry.ts'
import { type MapObserver, MapObservers } from './map-observers.ts'
import { MapTable } from './map-table.ts'
import type { Done, RemoteMemory } from './memory.ts'
import type { PinTable } from './pin-table.ts'

/** Most bytes of one map, as libvfio-user has it. */
const MAX_MAP_SIZE = 8 * 2 ** 40
/** Most files of one client, each of which keeps an fd, so that no client uses up the fds of the process. */
const MAX_FILES = 256

export interface ContainerOptions {
  /** Most maps at a time. */
  readonly maxMaps: number
  /** Reaches what the client maps without a file. */
  readonly remote: RemoteMemory
  /** Whether files that the client can shrink are mapped too: a client that does shrink one ends this process. */
  readonly mapUnsealed?: boolean
  /** Who pays for pinned pages; without it none can be pinned. */
  readonly payers?: PinPayers
  readonly log?: Logger
}

export class Container {
  /** What the device has written; off until it is started. */
  readonly dirtyLog = new DirtyLog()
  /** What the device reaches. */
  readonly memory: GuestMemory
  readonly #maxMaps: number
  readonly #support: MapSupport
  readonly #table = new MapTable()
  /** How many maps each file backs. */
  readonly #files = new Map<ClientFile, number>()
  readonly #pins: PinTable | undefined
  readonly #log: Logger
  readonly #observers: MapObservers
  #advised = false

  constructor({ maxMaps, remote, mapUnsealed = false, payers, log }: ContainerOptions) {
    const lockExempt = payers?.lockExempt ?? false
    this.#maxMaps = maxMaps
    this.#support = { remote, arena: new Arena(), mapUnsealed, lockExempt }
    this.#pins = payers && createPins(this.#table, this.dirtyLog, payers)
    this.#log = log ?? silentLogger
    this.#observers = new MapObservers(this.#log)
    this.memory = new GuestMemory(this.#table, this.dirtyLog, this.#pins)
  }

  /** Tells an observer of the maps that there are, and of all that come and go. What it throws is logged. */
  observe(observer: MapObserver): void {
    this.#observers.add(observer, this.#table.all)
  }

  /** Whether any map is of a file. */
  get hasFiles(): boolean {
    return this.#files.size > 0
  }

  /** Maps at this moment. */
  get count(): number {
    return this.#table.count
  }

  /**
   * Maps client memory.
   *
   * The same map again changes nothing, as QEMU and libvfio-user have it.
   *
   * @param map its fd is taken over, also when this throws
   * @throws EINVAL unaligned, empty, wrapping, or beyond the file · EEXIST overlaps a map · ENOSPC too large, too many
   *         maps or files · EACCES, EPERM the file does not grant what is asked for · EOPNOTSUPP a file of huge pages
   * @see vfio-user protocol, VFIO_USER_DMA_MAP
   */
  map(map: DmaMap): void {
    const { file } = map
    using undo = new Unwind()
    if (file !== undefined) undo.defer(() => closeFd(file.fd))
    if (this.#isThere(map)) return
    undo.keep() // the entry owns the fd from here on
    const entry = new MapEntry(map, this.#support)
    const used = entry.file && this.#files.get(entry.file)
    if (entry.file !== undefined && used === undefined && this.#files.size >= MAX_FILES) {
      entry.close()
      throw new ErrnoError('ENOSPC', `${describe(map)}: ${MAX_FILES} files are the most`)
    }
    if (entry.file !== undefined) this.#files.set(entry.file, (used ?? 0) + 1)
    this.#table.add(entry)
    if (entry.file?.mapped === false) this.#adviseSeals()
    this.#observers.tell('mapped', entry)
  }

  #adviseSeals(): void {
    if (this.#advised) return
    this.#advised = true
    this.#log.warn(
      'guest memory is in a file that its owner may shrink: the device reaches it by file I/O, which is slow. ' +
        'Seal it (qemu -object memory-backend-memfd does, unless told seal=off), or trust the VM with --map-unsealed',
    )
  }

  /** Whether there is exactly that map already. @throws EINVAL, EEXIST, ENOSPC: it cannot be made */
  #isThere(map: DmaMap): boolean {
    const { iova, size } = map
    const what = describe(map)
    checkRange(what, iova, size)
    if (size > MAX_MAP_SIZE) throw new ErrnoError('ENOSPC', `${what}: beyond 8 TiB`)
    const [other] = this.#table.overlapping(iova, size)
    if (other !== undefined && isSame(other, map)) return true
    if (other !== undefined) throw new ErrnoError('EEXIST', `${what}: overlaps a map`)
    if (this.count >= this.#maxMaps)
      throw new ErrnoError('ENOSPC', `${what}: ${this.#maxMaps} maps are the most`)
    return false
  }

  /** Whether there is a map of exactly this range. */
  isMap(iova: number, size: number): boolean {
    const entry = this.#table.at(iova)
    return entry?.iova === iova && entry.size === size
  }

  /**
   * Takes all maps in a range away; views of them read zeros from now on. A range without maps is fine.
   *
   * @returns bytes of the maps that went; a promise where file I/O is under way in one: it has ended before they go, and no
   *          access begins meanwhile
   * @throws EINVAL not whole pages, empty, wrapping, or it would cut a map in two: nothing has changed
   * @see VFIO_IOMMU_UNMAP_DMA of type1 version 2
   */
  unmap(iova: number, size: number): number | Promise<number> {
    return this.#unmap(this.#wholeMaps(iova, size))
  }

  /** Takes all maps away, as {@link unmap} does. */
  unmapAll(): number | Promise<number> {
    return this.#unmap(this.#table.all.slice())
  }

  /**
   * Lets no access to the maps in a range begin any more; they are to be unmapped next.
   *
   * @returns a promise of the end of the file I/O that is under way, if there is any
   * @throws EINVAL as {@link unmap}
   */
  quiesce(iova: number, size: number): Done {
    return this.#stop(this.#wholeMaps(iova, size))
  }

  /** The client has gone: takes all maps away at once. What file I/O uses is kept, out of sight, until that ends. */
  close(): void {
    const pins = this.#pins?.releaseAll() ?? 0
    if (pins > 0)
      this.#log.warn(
        `dma: the driver still held ${pins} pins when its client went, which were taken away`,
      )
    this.#remove(this.#table.all.slice())
    this.dirtyLog.forgetAll()
  }

  /** The maps in a range. @throws EINVAL it would cut one, or is none */
  #wholeMaps(iova: number, size: number): readonly MapEntry[] {
    const what = `dma unmap ${hex(iova)}+${hex(size)}`
    checkRange(what, iova, size)
    const entries = this.#table.overlapping(iova, size)
    if ((entries[0]?.iova ?? iova) < iova || (entries.at(-1)?.end ?? 0) > iova + size)
      throw new ErrnoError('EINVAL', `${what}: would cut a map`)
    return entries
  }

  #unmap(entries: readonly MapEntry[]): number | Promise<number> {
    const busy = this.#stop(entries)
    return busy === undefined ? this.#remove(entries) : busy.then(() => this.#remove(entries))
  }

  #stop(entries: readonly MapEntry[]): Done {
    let busy: Promise<void>[] | undefined
    for (const entry of entries) {
      if (entry.stopped) continue // they have been told, and what was under way is over or is waited for
      this.#observers.tell('unmapping', entry)
      entry.stopped = true
      this.memory.forgetShortCuts()
      if (this.#pins !== undefined) takePinsAway(this.#pins, entry, this.#log)
      const idle = entry.idle()
      if (idle !== undefined) (busy ??= []).push(idle)
    }
    return busy && allOf(busy)
  }

  #remove(entries: readonly MapEntry[]): number {
    this.memory.forgetShortCuts()
    this.#table.delete(entries)
    let total = 0
    using undo = new Unwind() // each is closed, even after one that throws
    for (const entry of entries) {
      if (entry.closed) continue // the client has gone while this was waited for
      this.dirtyLog.forget(entry.iova, entry.size)
      undo.defer(() => this.#close(entry))
      total += entry.size
    }
    return total
  }

  #close(entry: MapEntry): void {
    const { file } = entry
    if (file !== undefined) {
      const left = (this.#files.get(file) ?? 1) - 1
      if (left > 0) this.#files.set(file, left)
      else this.#files.delete(file)
    }
    entry.close()
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
    const entry = this.#table.at(iova)
    if (entry === undefined) throw new ErrnoError('ENOENT', `${what}: no map`)
    if (!this.isMap(iova, size)) throw new ErrnoError('EOPNOTSUPP', `${what}: not all of one map`)
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
    this.#pins?.forEachWritable(iova, (at, length) => this.dirtyLog.wrote(at, length))
    this.dirtyLog.report(iova, size, pageSize, bitmap)
  }
}

/** @throws EINVAL not whole pages, none, or beyond what addresses can say */
function checkRange(what: string, iova: number, size: number): void {
  if (!(size > 0 && iova >= 0 && size % PAGE_SIZE === 0 && iova % PAGE_SIZE === 0))
    throw new ErrnoError('EINVAL', `${what}: not whole pages`)
  if (!Number.isSafeInteger(iova + size)) throw new ErrnoError('EINVAL', `${what}: wraps`)
}

function isSame(entry: MapEntry, map: DmaMap): boolean {
  return (
    entry.iova === map.iova &&
    entry.size === map.size &&
    entry.readable === map.readable &&
    entry.writable === map.writable &&
    entry.offset === (map.file?.offset ?? 0) &&
    entry.file?.identity === (map.file && fileIdentity(map.file.fd))
  )
}

function describe({ iova, size }: DmaMap): string {
  return `dma map ${hex(iova)}+${hex(size)}`
}
