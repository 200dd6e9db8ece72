/** A slice of a disk that is memory, whose requests end when the test lets them. */
import type { Done, Limits, Slice, SliceOptions } from '../../../drivers/nvme/disk.ts'
import { ErrnoError, type ErrnoCode } from '../../../src/lib/errno.ts'
import type { Segment } from '../../../src/iommu/segments.ts'

const SECTOR = 512

export class MemorySlice implements Slice {
  readonly size: number
  readonly readOnly: boolean
  readonly sectorSize = SECTOR
  readonly bytes: Uint8Array
  /** Requests in the order in which they came, by name. */
  readonly calls: string[] = []
  /** What the next requests say instead of being done. */
  failure: ErrnoCode | undefined
  limits: Limits | undefined
  isClosed = false
  /** How often somebody wanted to wait for the end of requests. */
  quiescing = 0
  /** Requests beyond it, which a controller should not make. */
  outside = 0
  /** How often requests were handed over that were not handed over before. */
  batches = 0
  readonly #options: SliceOptions
  #queued: (() => void | Promise<void>)[] = []
  #underWay = 0
  #held: { readonly free: () => void; readonly freed: Promise<void> } | undefined
  #whenQuiet: (() => void)[] = []

  constructor(options: SliceOptions) {
    this.#options = options
    this.size = options.size
    this.readOnly = options.readOnly
    this.limits = options.limits
    this.bytes = new Uint8Array(options.size)
  }

  /** How many requests have not ended. */
  get underWay(): number {
    return this.#underWay
  }

  /** Requests that are handed over wait until {@link free}. */
  hold(): void {
    let free = () => {}
    const freed = new Promise<void>((resolve) => (free = resolve))
    this.#held = { free, freed }
  }

  free(): void {
    this.#held?.free()
    this.#held = undefined
  }

  /** Those that wait by now do so apart from later ones. @returns what {@link free} is to them */
  takeHeld(): () => void {
    const free = this.#held?.free ?? (() => {})
    this.#held = undefined
    return free
  }

  read(offset: number, parts: readonly Segment[], done: Done): void {
    const places = parts.map((part) => ({ ...part }))
    const bytes = this.bytes.subarray(offset, offset + this.#length(parts))
    this.#queue('read', offset, bytes.length, done, () =>
      this.#options.dma.writeList(places, bytes),
    )
  }

  write(offset: number, parts: readonly Segment[], done: Done): void {
    const places = parts.map((part) => ({ ...part }))
    const bytes = this.bytes.subarray(offset, offset + this.#length(parts))
    this.#queue('write', offset, bytes.length, done, () =>
      this.#options.dma.readList(places, bytes),
    )
  }

  flush(done: Done): void {
    this.#queue('flush', 0, 0, done, () => {})
  }

  discard(offset: number, length: number, done: Done): void {
    this.#queue(
      'discard',
      offset,
      length,
      done,
      () => void this.bytes.fill(0, offset, offset + length),
    )
  }

  zero(offset: number, length: number, done: Done): void {
    this.#queue(
      'zero',
      offset,
      length,
      done,
      () => void this.bytes.fill(0, offset, offset + length),
    )
  }

  readInto(offset: number, buffer: Uint8Array, done: Done): void {
    this.#queue('readInto', offset, buffer.length, done, () =>
      buffer.set(this.bytes.subarray(offset, offset + buffer.length)),
    )
  }

  submit(): void {
    const batch = this.#queued
    if (batch.length === 0) return
    this.batches++
    this.#queued = []
    void this.#run(batch)
  }

  async quiesce(): Promise<void> {
    this.quiescing++
    this.submit()
    if (this.#underWay > 0) await new Promise<void>((resolve) => this.#whenQuiet.push(resolve))
  }

  dropUnwanted(): void {}

  limit(limits: Limits): void {
    this.limits = limits
  }

  async close(): Promise<void> {
    this.isClosed = true
    await this.quiesce()
  }

  async #run(batch: readonly (() => void | Promise<void>)[]): Promise<void> {
    await this.#held?.freed
    await Promise.all(batch.map(async (request) => request()))
    this.#options.onBatch()
    if (this.#underWay === 0) for (const resolve of this.#whenQuiet.splice(0)) resolve()
  }

  #length(parts: readonly Segment[]): number {
    return parts.reduce((sum, { length }) => sum + length, 0)
  }

  #queue(
    name: string,
    offset: number,
    length: number,
    done: Done,
    action: () => void | Promise<void>,
  ): void {
    this.calls.push(`${name} ${offset}+${length}`)
    this.#underWay++
    const { failure } = this
    this.#queued.push(async () => {
      const error = await this.#outcome(offset, length, failure, action)
      this.#underWay--
      done(error)
    })
  }

  async #outcome(
    offset: number,
    length: number,
    failure: ErrnoCode | undefined,
    action: () => void | Promise<void>,
  ): Promise<ErrnoError | undefined> {
    if (failure !== undefined) return new ErrnoError(failure, 'slice: as the test wants it')
    if (
      offset < 0 ||
      offset + length > this.size ||
      offset % SECTOR !== 0 ||
      length % SECTOR !== 0
    ) {
      this.outside++
      return new ErrnoError('EINVAL', `slice: ${offset}+${length} of ${this.size}`)
    }
    try {
      await action()
    } catch (error) {
      if (error instanceof ErrnoError) return error
      throw error
    }
    return undefined
  }
}
