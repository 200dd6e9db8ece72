/** Blocks of 4 KiB at random places of a disk, so many under way at a time; whoever measures says for how long. */
export const BLOCK_SIZE = 4096

export const BLOCK_ACCESSES = ['read', 'write'] as const
export type BlockAccess = (typeof BLOCK_ACCESSES)[number]

export interface BlockLoadOptions {
  readonly access: BlockAccess
  /** Under way at a time. */
  readonly depth: number
  /** Bytes of the disk. */
  readonly size: number
}

export interface BlockFigures {
  /** Blocks that were moved. */
  readonly count: number
  readonly ms: number
  /** Doorbells that were rung. */
  readonly rings: number
}

/** Something that is ready to begin. */
export interface BlockLoad extends AsyncDisposable {
  /** Goes on for so long, and ends when nothing is under way any more. @throws what went wrong with a block */
  run(ms: number): Promise<BlockFigures>
}
