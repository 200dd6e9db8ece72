/** An image in slices: who has which bytes, what is free, and what becomes of the bytes of those that go. */
import { type Clock, ErrnoError, type Logger } from 'mdevkit'
import type { Disk, Slice, SliceOptions } from './disk.ts'
import { CLEAR_STEP, type Image, SLICE_UNIT } from './image.ts'
import { ImageSlice } from './slice.ts'
import { type Extent, readRecord, type SliceEntry, writeRecord } from './slice-record.ts'

/** How long a disk that is being closed goes on wiping: less than its host waits for it. */
const LAST_WIPES_MS = 5000

export interface SlicedDiskOptions {
  readonly image: Image
  /** Where the slices are recorded. */
  readonly recordPath: string
  readonly clock: Clock
  readonly log: Logger
}

export class SlicedDisk implements Disk {
  readonly #image: Image
  readonly #recordPath: string
  readonly #clock: Clock
  readonly #log: Logger
  /** By their place; as recorded. */
  #entries: readonly SliceEntry[]
  readonly #open = new Map<string, Slice>()
  /** What is being let go of or wiped, by uuid. */
  readonly #ending = new Map<string, Promise<void>>()
  /** When to leave what is to be wiped to the next start, by the clock. */
  #wipeUntil = Infinity

  /**
   * Takes over the image; it is closed before this throws. What an earlier process left to be wiped is wiped from now on.
   *
   * @throws EINVAL the record is none, or of another image: nothing is changed then · what reading it says
   */
  constructor({ image, recordPath, clock, log }: SlicedDiskOptions) {
    this.#image = image
    this.#recordPath = recordPath
    this.#clock = clock
    this.#log = log
    try {
      this.#entries = readRecord(recordPath, image.size)
    } catch (error) {
      void image.file.close()
      throw error
    }
    for (const { uuid, state } of this.#entries) if (state !== 'kept') this.#beginWipe(uuid)
  }

  get size(): number {
    return this.#image.size
  }

  get free(): number {
    return this.#gaps().reduce((most, { size }) => Math.max(most, size), 0)
  }

  /** What carries out its requests: `io_uring`, or `threads`. */
  get engine(): string {
    return this.#image.file.engine
  }

  /** How many slices are recorded. */
  get count(): number {
    return this.#entries.length
  }

  /** Bytes of no slice, in all. */
  get freeInAll(): number {
    return this.#gaps().reduce((sum, { size }) => sum + size, 0)
  }

  available(typeSize: number): number {
    const fit = this.#gaps().reduce((count, gap) => count + Math.floor(gap.size / typeSize), 0)
    const asleep = this.#entries.filter(
      (entry) =>
        entry.state === 'kept' &&
        (entry.typeSize ?? entry.size) === typeSize &&
        !this.#open.has(entry.uuid),
    )
    return fit + asleep.length
  }

  async settled(uuid: string): Promise<void> {
    while (this.#ending.has(uuid)) await this.#ending.get(uuid)
  }

  open(uuid: string, options: SliceOptions): Slice {
    const { size, typeSize = size, keep = true } = options
    const what = `slice of ${uuid}`
    if (this.#open.has(uuid)) throw new ErrnoError('EBUSY', `${what}: open already`)
    if (!Number.isSafeInteger(size) || size <= 0 || size % SLICE_UNIT !== 0)
      throw new ErrnoError('EINVAL', `${what}: ${size} bytes are no multiple of 1 MiB`)
    const recorded = this.#entryOf(uuid)
    if (this.#ending.has(uuid) || recorded?.state === 'wiping')
      throw new ErrnoError('EBUSY', `${what}: being wiped`)
    if (recorded !== undefined && recorded.size !== size)
      throw new ErrnoError(
        'EINVAL',
        `${what}: has ${recorded.size} bytes already, not ${size}; keep that size, or wipe it first`,
      )
    const { offset } = recorded ?? this.#place(what, size)
    const entry: SliceEntry = {
      uuid,
      offset,
      size,
      typeSize: typeSize === size ? undefined : typeSize,
      state: keep ? 'kept' : 'scratch',
    }
    if (entry.state !== recorded?.state || entry.typeSize !== recorded.typeSize)
      this.#record(uuid, entry)
    const onCut = ({ message }: ErrnoError) => this.#log.warn(`${what}: ${message}`)
    const slice = new ImageSlice(this.#image, entry, options, this.#clock, onCut, (idle) => {
      const closed = idle.then(() => this.#closed(uuid))
      this.#ending.set(uuid, closed)
      return closed
    })
    this.#open.set(uuid, slice)
    return slice
  }

  keep(uuid: string, keep: boolean): void {
    const entry = this.#entryOf(uuid)
    if (entry === undefined || !this.#open.has(uuid))
      throw new ErrnoError('ENOENT', `slice of ${uuid}: not open`)
    const state = keep ? 'kept' : 'scratch'
    if (state !== entry.state) this.#record(uuid, { ...entry, state })
  }

  async close(): Promise<void> {
    this.#wipeUntil = this.#clock.now() + LAST_WIPES_MS
    await Promise.all(Array.from(this.#open.values(), (slice) => slice.close()))
    while (this.#ending.size > 0) await Promise.all(this.#ending.values())
    await this.#image.file.close()
  }

  #entryOf(uuid: string): SliceEntry | undefined {
    return this.#entries.find((entry) => entry.uuid === uuid)
  }

  /** First fit. @throws ENOSPC */
  #place(what: string, size: number): Extent {
    const gap = this.#gaps().find((each) => each.size >= size)
    if (gap === undefined)
      throw new ErrnoError(
        'ENOSPC',
        `${what}: no ${size} bytes in one piece are free on ${this.#image.path}, ${this.free} are`,
      )
    return { offset: gap.offset, size }
  }

  #gaps(): Extent[] {
    const gaps: Extent[] = []
    let offset = 0
    for (const entry of [...this.#entries, { offset: this.#image.size, size: 0 }]) {
      if (entry.offset > offset) gaps.push({ offset, size: entry.offset - offset })
      offset = entry.offset + entry.size
    }
    return gaps
  }

  /** Records another state of a slice, or that there is none. @throws what writing says; nothing has changed then */
  #record(uuid: string, entry: SliceEntry | undefined): void {
    const others = this.#entries.filter((each) => each.uuid !== uuid)
    const entries = entry === undefined ? others : [...others, entry]
    entries.sort((a, b) => a.offset - b.offset)
    writeRecord(this.#recordPath, entries)
    this.#entries = entries
  }

  #closed(uuid: string): void {
    this.#open.delete(uuid)
    this.#ending.delete(uuid)
    if (this.#entryOf(uuid)?.state === 'scratch') this.#beginWipe(uuid)
  }

  #beginWipe(uuid: string): void {
    const wiped = this.#wipe(uuid).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error)
      this.#log.error(`slice of ${uuid}: not wiped, which the next start tries again: ${message}`)
    })
    this.#ending.set(
      uuid,
      wiped.then(() => void this.#ending.delete(uuid)),
    )
  }

  /** Makes zeros of a slice, and then free space. Where closing the disk leaves no time for it, the next start goes on. */
  async #wipe(uuid: string): Promise<void> {
    const entry = this.#entryOf(uuid)!
    if (entry.state !== 'wiping') this.#record(uuid, { ...entry, state: 'wiping' })
    const { file } = this.#image
    const end = entry.offset + entry.size
    for (let at = entry.offset; at < end; at += CLEAR_STEP) {
      if (this.#clock.now() > this.#wipeUntil) return
      const length = Math.min(CLEAR_STEP, end - at)
      if (file.size < end)
        // zeros that have to be written would lengthen it again
        throw new ErrnoError('EIO', `image ${this.#image.path}: cut to ${file.size} bytes`)
      await ended((done) => file.discard(at, length, done), file)
    }
    await ended((done) => file.sync(done), file)
    this.#record(uuid, undefined)
  }
}

/** Begins a request, and waits for its end. */
function ended(
  begin: (done: (error?: ErrnoError) => void) => void,
  file: { submit(): void },
): Promise<void> {
  return new Promise((resolve, reject) => {
    begin((error) => {
      if (error === undefined) resolve()
      else reject(error)
    })
    file.submit()
  })
}
