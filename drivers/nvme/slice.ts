/** A slice: the one place where a guest's offsets become the image's, and where that is checked. */
import { blockOf, type Clock, type Dma, ErrnoError, type Segment } from 'mdevkit'
import type { Done, Limits, Slice, SliceOptions, Wanted } from './disk.ts'
import { CLEAR_STEP, type Image } from './image.ts'
import type { Extent } from './slice-record.ts'
import { Throttle } from './throttle.ts'

interface Refusal {
  readonly done: Done
  readonly error: ErrnoError
}

export class ImageSlice implements Slice {
  readonly size: number
  readonly readOnly: boolean
  readonly sectorSize: number
  readonly #image: Image
  /** In the image, bytes. */
  readonly #start: number
  readonly #dma: Dma
  readonly #onBatch: () => void
  readonly #throttle: Throttle
  /** Refused, and to be told so at the next submit. */
  #refused: Refusal[] = []
  #underWay = 0
  #whenIdle: (() => void)[] = []
  #batchEnds = false
  /** Undefined until it is closed. */
  #closing: Promise<void> | undefined
  readonly #onClose: (idle: Promise<void>) => Promise<void>

  /** @param onClose called when it is closed, with a promise that nothing is under way any more. @returns its end */
  constructor(
    image: Image,
    extent: Extent,
    { dma, readOnly, limits, onBatch }: SliceOptions,
    clock: Clock,
    onClose: (idle: Promise<void>) => Promise<void>,
  ) {
    this.size = extent.size
    this.readOnly = readOnly
    this.sectorSize = image.sectorSize
    this.#image = image
    this.#start = extent.offset
    this.#dma = dma
    this.#onBatch = onBatch
    this.#throttle = new Throttle(clock, limits, () => this.submit())
    this.#onClose = onClose
  }

  read(offset: number, parts: readonly Segment[], done: Done, isWanted = always): void {
    const length = lengthOf(parts)
    if (this.#isRefused('read', offset, length, done)) return
    this.#run(length, done, isWanted, (ended) =>
      this.#dma.queueFromFile(parts, this.#image.file, this.#start + offset, ended),
    )
  }

  write(offset: number, parts: readonly Segment[], done: Done, isWanted = always): void {
    const length = lengthOf(parts)
    if (this.#isRefused('write', offset, length, done)) return
    this.#run(length, done, isWanted, (ended) =>
      this.#dma.queueToFile(parts, this.#image.file, this.#start + offset, ended),
    )
  }

  flush(done: Done): void {
    if (this.#isRefused('flush', 0, 0, done)) return
    this.#begin(done, (ended) => {
      const { file, flushes } = this.#image
      if (!flushes) file.afterBatch(ended)
      else file.sync((error) => ended(error ?? this.#image.damage(this.#start + this.size)))
    })
  }

  discard(offset: number, length: number, done: Done, isWanted = always): void {
    if (this.#isRefused('discard', offset, length, done)) return
    this.#run(0, done, isWanted, (ended) => this.#clear('discard', offset, length, ended, isWanted))
  }

  zero(offset: number, length: number, done: Done, isWanted = always): void {
    if (this.#isRefused('zero', offset, length, done)) return
    this.#run(0, done, isWanted, (ended) => this.#clear('zero', offset, length, ended, isWanted))
  }

  readInto(offset: number, buffer: Uint8Array, done: Done): void {
    const { length } = buffer
    if (this.#isRefused('read', offset, length, done)) return
    this.#run(length, done, always, (ended) =>
      this.#image.file.read(this.#start + offset, blockOf(buffer), length, ended),
    )
  }

  submit(): void {
    this.#image.file.submit()
    if (this.#refused.length === 0) return
    const refused = this.#refused
    this.#refused = []
    for (const { done, error } of refused) this.#end(done, error)
  }

  async quiesce(): Promise<void> {
    this.#throttle.cancel()
    this.submit()
    if (this.#underWay > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve))
  }

  dropUnwanted(): void {
    this.#throttle.cancel((isWanted) => !isWanted())
  }

  limit(limits: Limits): void {
    this.#throttle.limit(limits)
  }

  async close(): Promise<void> {
    await (this.#closing ??= this.#onClose(this.quiesce()))
  }

  /** Refuses what is not inside the slice, or not to be done; `done` hears of it at the next submit. */
  #isRefused(what: string, offset: number, length: number, done: Done): boolean {
    const error = this.#fault(what, offset, length)
    if (error === undefined) return false
    this.#underWay++
    this.#refused.push({ done, error })
    return true
  }

  #fault(what: string, offset: number, length: number): ErrnoError | undefined {
    if (this.#closing !== undefined)
      return new ErrnoError('ECANCELED', `slice: ${what} after its close`)
    const isInside =
      Number.isSafeInteger(offset) &&
      Number.isSafeInteger(length) &&
      offset >= 0 &&
      length >= 0 &&
      length <= this.size &&
      offset <= this.size - length
    if (!isInside)
      return new ErrnoError(
        'EINVAL',
        `slice: ${what} of ${length} bytes at ${offset}: it has ${this.size}`,
      )
    if (offset % this.sectorSize !== 0 || length % this.sectorSize !== 0)
      return new ErrnoError(
        'EINVAL',
        `slice: ${what} of ${length} bytes at ${offset}: not whole sectors of ${this.sectorSize}`,
      )
    if (this.readOnly && what !== 'read' && what !== 'flush')
      return new ErrnoError('EROFS', `slice: ${what} of a read-only one`)
    return undefined
  }

  /** Begins a request as soon as the limits let it. */
  #run(length: number, done: Done, isWanted: Wanted, queue: (ended: Done) => void): void {
    if (!this.#throttle.isActive) {
      this.#begin(done, queue)
      return
    }
    this.#throttle.run({
      bytes: length,
      isWanted,
      begin: () => this.#begin(done, queue),
      giveUp: () => {
        this.#underWay++
        this.#end(done, new ErrnoError('ECANCELED', 'slice: given up before it began'))
      },
    })
  }

  /** Zeros a piece, and then what is left. */
  #clear(
    how: 'discard' | 'zero',
    offset: number,
    left: number,
    ended: Done,
    isWanted: Wanted,
  ): void {
    const { file } = this.#image
    const length = Math.min(CLEAR_STEP, left)
    file[how](this.#start + offset, length, (error) => {
      if (error !== undefined || length === left) ended(error)
      else if (this.#closing !== undefined || !isWanted())
        ended(new ErrnoError('ECANCELED', `slice: ${how} given up, ${left - length} bytes early`))
      else {
        this.#clear(how, offset + length, left - length, ended, isWanted)
        file.submit()
      }
    })
  }

  #begin(done: Done, queue: (ended: Done) => void): void {
    this.#underWay++
    try {
      queue((error) => this.#end(done, error))
    } catch (error) {
      // of the guest's memory, as a rule: all else is a bug, and surfaces
      if (!(error instanceof ErrnoError)) throw error
      this.#refused.push({ done, error })
    }
  }

  #end(done: Done, error: ErrnoError | undefined): void {
    if (!this.#batchEnds) {
      this.#batchEnds = true
      this.#image.file.afterBatch(this.#endBatch)
    }
    this.#underWay--
    try {
      done(error)
    } finally {
      if (this.#underWay === 0) for (const resolve of this.#whenIdle.splice(0)) resolve()
    }
  }

  readonly #endBatch = (): void => {
    this.#batchEnds = false
    this.#onBatch()
  }
}

function always(): boolean {
  return true
}

function lengthOf(parts: readonly Segment[]): number {
  let total = 0
  for (const { length } of parts) total += length
  return total
}
