/** What pinning needs to know of a container: its maps, and where their pages lie in this process. */

/** A client's file as this process has it mapped, for everybody who uses it. */
export interface PinnableFile {
  /** Names the file for as long as somebody has it: `dev:ino`. */
  readonly identity: string
  /**
   * The piece that a byte of the file lies in, for the map that this file was got from.
   *
   * It stays the answer, and mapped, until the container has released the pins of that map.
   */
  pieceAt(offset: number): PinnablePiece
}

/**
 * A run of a file in one shared mapping. MAP_SHARED, since locking a private writable mapping would copy its pages.
 *
 * Its address tells it from every other piece that is mapped at the time.
 */
export interface PinnablePiece {
  /** Where in this process it starts. */
  readonly address: number
  /** Where in the file it starts, bytes, page aligned, like `length`. */
  readonly offset: number
  readonly length: number
}

/** One map of a container, as far as pinning goes. */
export interface PinnableMap {
  /** Bytes, page aligned, like `size`. */
  readonly iova: number
  readonly size: number
  readonly readable: boolean
  readonly writable: boolean
  /** What backs it; undefined where nothing is mapped here that could be locked: file I/O and message memory. */
  readonly backing: Backing | undefined
  /** Whether the client had CAP_IPC_LOCK when it mapped this: its RLIMIT_MEMLOCK does not bind this map then. */
  readonly lockExempt: boolean
}

/** A file, and where in it a map starts. */
export interface Backing {
  readonly file: PinnableFile
  /** Bytes, page aligned. */
  readonly offset: number
}

/** The container, as its pins see it. */
export interface PinSpace {
  /** The map that `iova` lies in. */
  find(iova: number): PinnableMap | undefined
  /**
   * The memory itself, inside one map: one view, or more where it is mapped here in several pieces; in order.
   *
   * It is of pages that are pinned: how long they count as written is for the pin to say, not for the view.
   */
  views(iova: number, length: number): readonly Uint8Array[]
  /** Pages that were pinned for writing are let go: the device has written them for the last time. */
  wrote(iova: number, length: number): void
}
