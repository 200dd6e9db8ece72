/** What an NVMe controller asks of the disk behind it, and the parent of the disk. */
import type { Dma, ErrnoError, Segment } from 'mdevkit'

/** The end of one request: nothing, or what went wrong. */
export type Done = (error?: ErrnoError) => void

/** Whether a request is still to be done; asked as long as nothing, or not all of it, is. */
export type Wanted = () => boolean

/**
 * One guest's slice of the disk: everything it can reach.
 *
 * Offsets and lengths are bytes, inside the slice, and are checked here again. Requests queue up until `submit`; from then on
 * they run at the same time and end in any order, some of them before `submit` returns. `done` is called exactly once, never
 * before `submit`, and with guest memory no longer in use.
 *
 * What `done` may say: EINVAL outside the slice or not in whole sectors · EFAULT, EACCES, EAGAIN of the guest's memory (see
 * `Dma`) · EROFS the slice is read-only · ENOSPC the image's file system is full · ECANCELED the slice was closed, or
 * it was not wanted any more · EIO, ENODEV…
 * what the file said.
 */
export interface Slice {
  /** Bytes. */
  readonly size: number
  readonly readOnly: boolean
  /** Bytes that offsets and lengths are multiples of: 512, or more where the disk is opened past the page cache. */
  readonly sectorSize: number
  /** From the disk to the parts of guest memory, in their order. */
  read(offset: number, parts: readonly Segment[], done: Done, isWanted?: Wanted): void
  /** From the parts of guest memory to the disk. */
  write(offset: number, parts: readonly Segment[], done: Done, isWanted?: Wanted): void
  /** What was written before, by requests that have ended, outlives a power cut; unless the disk is configured otherwise. */
  flush(done: Done): void
  /**
   * The guest needs these bytes no more; they read as zeros from now on. It is done piece by piece, and given up between two of
   * them where it is not wanted any more.
   */
  discard(offset: number, length: number, done: Done, isWanted?: Wanted): void
  /** These bytes read as zeros from now on, with room kept for them; piece by piece as well. */
  zero(offset: number, length: number, done: Done, isWanted?: Wanted): void
  /** From the disk to memory of our own; `buffer` is the request's until its end. */
  readInto(offset: number, buffer: Uint8Array, done: Done): void
  /** Hands over everything queued since. */
  submit(): void
  /** Resolves once no request is left and no guest memory is in use. Requests that only wait for a limit end with ECANCELED. */
  quiesce(): Promise<void>
  /** Ends what only waits for a limit and is not wanted any more, with ECANCELED. */
  dropUnwanted(): void
  /** What a guest may do a second, from now on. */
  limit(limits: Limits): void
  /** Lets go of the slice once nothing is under way; what waits ends with ECANCELED. Idempotent. */
  close(): Promise<void>
}

/** What one guest may do a second; 0 is without limit. */
export interface Limits {
  /** Bytes, read and written. */
  readonly bandwidth: number
  /** Requests. */
  readonly iops: number
}

export interface SliceOptions {
  /** The guest's memory. */
  readonly dma: Dma
  /** Bytes; must be what is recorded where the slice is there already. */
  readonly size: number
  /** Of the mdev's type, bytes; the same as `size` unless given. */
  readonly typeSize?: number
  readonly readOnly: boolean
  readonly limits: Limits
  /** Whether its bytes stay when it is closed, or are zeroed and free for others then; true unless given. */
  readonly keep?: boolean
  /** Called after the last of the `done`s that came together: one interrupt serves them all. */
  readonly onBatch: () => void
}

/** The disk of a parent, which is sliced. */
export interface Disk {
  /** Bytes. */
  readonly size: number
  /** Bytes that no slice has: the longest run, which is what one more slice can have. */
  readonly free: number
  /** How many more mdevs of the type with so many bytes can start: that fit, and those whose slice is there but not open. */
  available(typeSize: number): number
  /**
   * Opens the slice of an mdev: the recorded one, or a new one that is recorded before this returns.
   *
   * @throws ENOSPC no room · EINVAL it is recorded with another size, or the size is not whole MiB · EBUSY open already, or
   *         the one before is being let go of
   */
  open(uuid: string, options: SliceOptions): Slice
  /** Resolves once no slice of that mdev is being let go of or wiped: before the next {@link open}. */
  settled(uuid: string): Promise<void>
  /** Whether the slice, which is open, is kept when it is closed, from now on. @throws ENOENT · what recording it says */
  keep(uuid: string, keep: boolean): void
  /** Closes all slices and the image. What cannot be wiped in 5 s is wiped from the next start on. */
  close(): Promise<void>
}
