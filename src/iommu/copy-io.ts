/** Transfers between a file and client memory that is not mapped here, or not aligned as the file wants it: by way of a buffer. */
import { alignedBlock } from '../os/async-file.ts'
import type { Block } from '../os/file-request.ts'
import type { FileUser } from '../os/file-turns.ts'
import type { FileIo } from './file-io.ts'
import type { Done } from './memory.ts'
import type { Segment } from './segments.ts'

/** Bytes of a buffer. */
const BUFFER = 2 ** 20
/** Most buffers of one client: how much of our memory a guest's transfers take is not for the guest to decide. */
const MAX_BUFFERS = 16

/** What copies from and to client memory, and checks each time whether it may. */
export interface CopyingMemory {
  readList(list: readonly Segment[], target: Uint8Array): Done
  writeList(list: readonly Segment[], source: Uint8Array): Done
}

/** Whose transfers they are. */
export interface CopyClient {
  readonly memory: CopyingMemory
  /** Whose turn at the file they take. */
  readonly user: FileUser
  readonly buffers: CopyBuffers
}

/**
 * Moves all of a list, buffer by buffer.
 *
 * @param total bytes of the list
 * @throws EFAULT, EACCES of the list · what the file says; some may have been moved then
 */
export async function copyIo(
  { direction, file, list, position }: FileIo,
  total: number,
  { memory, user, buffers }: CopyClient,
): Promise<void> {
  const operation = direction === 'to-file' ? 'write' : 'read'
  const buffer = await buffers.take()
  try {
    for (let at = 0; at < total; at += BUFFER) {
      const length = Math.min(BUFFER, total - at)
      const part = buffer.bytes.subarray(0, length)
      const segments = partOf(list, at, length)
      if (direction === 'to-file') await memory.readList(segments, part)
      await new Promise<void>((resolve, reject) => {
        const done = (error?: Error) => (error === undefined ? resolve() : reject(error))
        file[operation](position + at, buffer, length, done, user)
        file.submit()
      })
      if (direction === 'from-file') await memory.writeList(segments, part)
    }
  } finally {
    buffers.giveBack(buffer)
  }
}

/** One client's: another's, that keeps its transfers waiting, holds up nobody else's. */
export class CopyBuffers {
  readonly #spare: Block[] = []
  readonly #waiting: ((buffer: Block) => void)[] = []
  #count = 0

  async take(): Promise<Block> {
    const buffer = this.#spare.pop()
    if (buffer !== undefined) return buffer
    if (this.#count < MAX_BUFFERS) {
      this.#count++
      return alignedBlock(BUFFER)
    }
    return new Promise((resolve) => this.#waiting.push(resolve))
  }

  giveBack(buffer: Block): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#spare.push(buffer)
    else next(buffer)
  }
}

/** Bytes `start` to `start + length` of a list, as a list. */
function partOf(list: readonly Segment[], start: number, length: number): Segment[] {
  const part: Segment[] = []
  let skip = start
  let left = length
  for (const segment of list) {
    if (left === 0) break
    const skipped = Math.min(skip, segment.length)
    const taken = Math.min(left, segment.length - skipped)
    if (taken > 0) part.push({ iova: segment.iova + skipped, length: taken })
    skip -= skipped
    left -= taken
  }
  return part
}
