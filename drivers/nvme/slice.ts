/** A slice: the one place where a guest's offsets become the image's, and where that is checked. */
import { alignedBlock, blockOf, type Clock, type Dma, ErrnoError, type Segment } from 'mdevkit'
import type { Done, Limits, Slice, SliceOptions, Wanted } from './disk.ts'
import { CLEAR_STEP, type Image } from './image.ts'
import { SliceGuard } from './slice-guard.ts'
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
  readonly #guard: SliceGuard
  /** Refused, and to be told so at the next submit. */
  #refused: Refusal[] = []
  #underWay = 0
  #whenIdle: (() => void)[] = []
  #batchEnds = false
  /** Undefined until it is closed. */
  #closing: Promise<void> | undefined
  readonly #onClose: (idle: Promise<void>) => Promise<void>

  /**
   * @param onCut   told when the image was cut under it
   * @param onClose called when it is closed, with a promise that nothing is under way any more. @returns its end
   */
  constructor(
    image: Image,
    extent: Extent,
    { dma, readOnly, limits, onBatch }: SliceOptions,
    clock: Clock,
    onCut: (error: ErrnoError) => void,
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
    this.#guard = new SliceGuard(image, extent, clock, onCut)
    this.#onClose = onClose
  }

  read(offset: number, parts: readonly Segment[], done: Done, isWanted = always): void {
    const length = lengthOf(parts)
    if (this.#isRefused('read', offset, length, done)) return
    this.#run(length, done, isWanted, (ended) => {
      const position = this.#start + offset
      this.#check(position + length, 0)
      this.#dma.queueFromFile(parts, this.#image.file, position, ended)
    })
  }

  write(offset: number, parts: readonly Segment[], done: Done, isWanted = always): void {
    const length = lengthOf(parts)
    if (this.#isRefused('write', offset, length, done)) return
    this.#run(length, done, isWanted, (ended) => {
      const position = this.#start + offset
      this.#check(position + length, position + length)
      this.#dma.queueToFile(parts, this.#image.file, position, ended)
    })
  }

  flush(done: Done): void {
    if (this.#isRefused('flush', 0, 0, done)) return
    this.#begin(done, (ended) => {
      const { file, flushes } = this.#image
      const end = (error?: ErrnoError) => ended(error ?? this.#guard.damage(this.#isAlone))
      if (flushes) file.sync(end, this)
      else file.afterBatch(end)
    })
  }

  discard(offset: number, length: number, done: Done, isWanted = always): void {
    this.#beginClear('discard', offset, length, done, isWanted)
  }

  zero(offset: number, length: number, done: Done, isWanted = always): void {
    this.#beginClear('zero', offset, length, done, isWanted)
  }

  readInto(offset: number, buffer: Uint8Array, done: Done): void {
    const { length } = buffer
    if (this.#isRefused('read', offset, length, done)) return
    this.#run(length, done, always, (ended) => {
      const position = this.#start + offset
      this.#check(position + length, 0)
      const { file } = this.#image
      if (!file.direct) {
        file.read(position, blockOf(buffer), length, ended, this)
        return
      }
      const aligned = alignedBlock(length)
      const copied: Done = (error) => {
        if (error === undefined) buffer.set(aligned.bytes)
        ended(error)
      }
      file.read(position, aligned, length, copied, this)
    })
  }

  submit(): void {
    this.#guard.beginBatch()
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
    await (this.#closing ??= this.#onClose(this.quiesce().then(() => this.#guard.close())))
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

  #beginClear(
    how: 'discard' | 'zero',
    offset: number,
    length: number,
    done: Done,
    isWanted: Wanted,
  ): void {
    if (this.#isRefused(how, offset, length, done)) return
    this.#run(0, done, isWanted, (ended) => {
      const position = this.#start + offset
      this.#check(position + length, position + Math.min(CLEAR_STEP, length))
      this.#clear(how, position, length, ended, isWanted)
    })
  }

  /** Zeros a piece, and then what is left. @param position in the image */
  #clear(
    how: 'discard' | 'zero',
    position: number,
    left: number,
    ended: Done,
    isWanted: Wanted,
  ): void {
    const { file } = this.#image
    const length = Math.min(CLEAR_STEP, left)
    const next = position + length
    const rest = left - length
    const cleared: Done = (error) => {
      if (error !== undefined || rest === 0) return ended(error)
      if (this.#closing !== undefined || !isWanted())
        return ended(new ErrnoError('ECANCELED', `slice: ${how} given up, ${rest} bytes early`))
      this.#guard.beginBatch()
      const fault = this.#guard.fault(next + rest, next + Math.min(CLEAR_STEP, rest), false)
      if (fault !== undefined) return ended(fault)
      this.#clear(how, next, rest, ended, isWanted)
      file.submit()
    }
    file[how](position, length, cleared, this)
  }

  /** @param writeEnd up to where bytes are written now. @throws EIO bytes up to `end` of the image are not there any more */
  #check(end: number, writeEnd: number): void {
    const fault = this.#guard.fault(end, writeEnd, this.#isAlone)
    if (fault !== undefined) throw fault
  }

  /** Whether nothing but one request, who asks, is under way. */
  get #isAlone(): boolean {
    return this.#underWay === 1
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
