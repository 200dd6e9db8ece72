/** Lists of descriptors in guest memory, which PRPs and SGLs lead to. */
import type { Command } from './command.ts'

/** Told when `command.data` is filled, or with what is wrong with the pointer. */
export type Resolved = (command: Command, status: number) => void

/** Reads `length` bytes of descriptors, at most {@link LIST_SIZE}; the list is there until `next` reads another. */
export type ReadList = (
  command: Command,
  iova: number,
  length: number,
  next: (list: DataView) => void,
  failed: (status: number) => void,
) => void

/** Bytes; twice what PRPs of the largest transfer take. */
export const LIST_SIZE = 4096
