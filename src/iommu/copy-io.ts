/** Transfers between a file and client memory that is not mapped here, or not aligned as the file wants it: by way of a buffer. */
import { alignedBlock, type AsyncFile } from '../os/async-file.ts'
import type { Block } from '../os/file-request.ts'
import type { FileIo } from './file-io.ts'
import type { Done } from './memory.ts'
import type { Segment } from './segments.ts'

/** Bytes of a buffer. */
const BUFFER = 2 ** 20
/** Most buffers at a time: how much of our memory a guest's transfers take is not for the guest to decide. */
const MAX_BUFFERS = 16

/** What copies from and to client memory, and checks each time whether it may. */
export interface CopyingMemory {
  readList(list: readonly Segment[], target: Uint8Array): Done
  writeList(list: readonly Segment[], source: Uint8Array): Done
}

/**
 * Moves all of a list, buffer by buffer.
 *
 * @param total bytes of the list
 * @throws EFAULT, EACCES of the list · what the file says; some may have been moved then
 */
export async function copyIo(io: FileIo, total: number, memory: CopyingMemory): Promise<void> {
  const { direction, file, list, position } = io
  const buffer = await takeBuffer()
  try {
    for (let at = 0; at < total; at += BUFFER) {
      const length = Math.min(BUFFER, total - at)
      const part = buffer.bytes.subarray(0, length)
      const segments = partOf(list, at, length)
      if (direction === 'to-file') await memory.readList(segments, part)
      await move(file, direction === 'to-file' ? 'write' : 'read', position + at, buffer, length)
      if (direction === 'from-file') await memory.writeList(segments, part)
    }
  } finally {
    returnBuffer(buffer)
  }
}

function move(
  file: AsyncFile,
  operation: 'read' | 'write',
  position: number,
  buffer: Block,
  length: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    file[operation](position, buffer, length, (error) => {
      if (error === undefined) resolve()
      else reject(error)
    })
    file.submit()
  })
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

const spare: Block[] = []
const waiting: ((buffer: Block) => void)[] = []
let buffers = 0

async function takeBuffer(): Promise<Block> {
  const buffer = spare.pop()
  if (buffer !== undefined) return buffer
  if (buffers < MAX_BUFFERS) {
    buffers++
    return alignedBlock(BUFFER)
  }
  return new Promise((resolve) => waiting.push(resolve))
}

function returnBuffer(buffer: Block): void {
  const next = waiting.shift()
  if (next === undefined) spare.push(buffer)
  else next(buffer)
}
