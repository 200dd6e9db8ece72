/** The namespace: a slice of the disk, as blocks. */
import { ErrnoError } from 'mdevkit'
import type { Slice } from './disk.ts'

/** The only one there is. */
export const NAMESPACE_ID = 1

export type BlockSize = 512 | 4096

export class Namespace {
  readonly slice: Slice
  readonly blockSize: BlockSize
  /** Blocks. */
  readonly size: number
  /** It is being formatted: nothing else is done meanwhile. */
  formatting = false

  /** @throws EINVAL the disk has larger sectors, or no whole block */
  constructor(slice: Slice, blockSize: BlockSize) {
    if (blockSize % slice.sectorSize !== 0) {
      throw new ErrnoError(
        'EINVAL',
        `nvme: blocks of ${blockSize} bytes on a disk with sectors of ${slice.sectorSize}: choose block_size=${slice.sectorSize}`,
      )
    }
    this.slice = slice
    this.blockSize = blockSize
    this.size = Math.floor(slice.size / blockSize)
    if (this.size === 0)
      throw new ErrnoError('EINVAL', `nvme: a slice of ${slice.size} bytes has no whole block`)
  }

  /** Whether all of these blocks are there. Any numbers may come. */
  has(start: number, count: number): boolean {
    return count <= this.size && start <= this.size - count
  }
}
