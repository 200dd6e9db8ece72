/**
 * Whether the bytes of a slice are still there. An image file that somebody cuts is lengthened again by the next write beyond
 * its end, and zeros are where the guest's data was: neither the write nor a later flush may be told to have gone well.
 *
 * Nothing makes a kernel refuse such a write, so it is looked first, at most once in {@link LOOK_MS}: asking each time would cost
 * what a small write costs. What is written in between may lengthen the file, but not hide that it was cut: the file is watched,
 * and a flush always looks. From the first look that finds it on, what is lost stays refused, also when the file is made longer:
 * nobody here can tell whether the old bytes are in it. A block device is asked for its size at flushes alone: it does not grow by
 * writing.
 */
import { type Clock, type CutWatch, ErrnoError } from 'mdevkit'
import type { Image } from './image.ts'
import type { Extent } from './slice-record.ts'

/** The least between two looks, ms, each of which takes some 5 us. */
const LOOK_MS = 10

export class SliceGuard {
  readonly #image: Image
  /** Where the slice ends in the image, like all that follows. */
  readonly #end: number
  readonly #clock: Clock
  readonly #onCut: (error: ErrnoError) => void
  readonly #watch: CutWatch | undefined
  /** What is refused lies beyond. */
  #intact = Infinity
  /** Up to where writes may have lengthened the file since they were all seen to have ended well. */
  #reach = 0
  #error: ErrnoError | undefined
  /** Whether the clock has not been asked since something was handed over, and when the next look is due. */
  #isNewBatch = true
  #nextLook = -Infinity

  /** @param onCut told of each cut, once. @throws what {@link AsyncFile.watchCuts} says */
  constructor(
    image: Image,
    { offset, size }: Extent,
    clock: Clock,
    onCut: (error: ErrnoError) => void,
  ) {
    this.#image = image
    this.#end = offset + size
    this.#clock = clock
    this.#onCut = onCut
    this.#watch = image.file.watchCuts(this.#end)
  }

  /** What was queued has been handed over. */
  beginBatch(): void {
    this.#isNewBatch = true
  }

  /**
   * Why bytes up to `end` cannot be read or written.
   *
   * @param writeEnd up to where bytes are written now; 0 where they are read
   * @param isIdle   whether nothing else of the slice is under way
   */
  fault(end: number, writeEnd: number, isIdle: boolean): ErrnoError | undefined {
    if (this.#isNewBatch) {
      this.#isNewBatch = false
      if (this.#clock.now() >= this.#nextLook) this.#look(isIdle)
    }
    if (end > this.#intact) return this.#error
    if (writeEnd > this.#reach) this.#reach = writeEnd
    return undefined
  }

  /** Why what was written is lost, or will be, if it is. @param isIdle as above */
  damage(isIdle: boolean): ErrnoError | undefined {
    const { file, path } = this.#image
    if (file.deleted)
      return new ErrnoError(
        'EIO',
        `image ${path}: deleted; what is written is lost when its host stops`,
      )
    if (file.isBlockDevice) {
      const { size } = file
      return size < this.#end ? cutTo(path, size, this.#end) : undefined
    }
    this.#look(isIdle)
    return this.#error
  }

  /** Nothing is asked afterwards. Idempotent. */
  close(): void {
    this.#watch?.close()
  }

  #look(isIdle: boolean): void {
    const { file, path } = this.#image
    if (file.isBlockDevice) return
    this.#nextLook = this.#clock.now() + LOOK_MS
    const { size } = file
    const isNew = this.#error === undefined && this.#watch?.cut === true
    if (!isNew && size >= Math.min(this.#end, this.#intact)) {
      if (isIdle) this.#reach = 0
      return
    }
    // a size that a write of ours may have made does not tell where the cut was
    const isKnown = size < this.#end && size > this.#reach
    this.#intact = isKnown ? size : 0
    this.#error = isKnown ? cutTo(path, size, this.#end) : writtenAnew(path)
    this.#onCut(this.#error)
  }
}

function cutTo(path: string, size: number, end: number): ErrnoError {
  return new ErrnoError(
    'EIO',
    `image ${path}: cut to ${size} bytes, ${end} are in use; restore it, and register its parent again`,
  )
}

function writtenAnew(path: string): ErrnoError {
  return new ErrnoError(
    'EIO',
    `image ${path}: cut and written to since, so what is left of it is unknown; restore it, and register its parent again`,
  )
}
