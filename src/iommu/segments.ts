/** Scatter-gather lists: memory in several places, as one run of bytes. */
import { inParts } from '../lib/all-of.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Done } from './memory.ts'

/** One place of a list. */
export interface Segment {
  readonly iova: number
  /** Bytes. */
  readonly length: number
}

/** Bytes of a whole list. @throws EINVAL a length that is none */
export function listLength(segments: readonly Segment[]): number {
  let total = 0
  for (const { length } of segments) {
    if (!Number.isSafeInteger(length) || length < 0)
      throw new ErrnoError('EINVAL', `dma list: a segment of ${length} bytes`)
    total += length
  }
  return total
}

/** @throws EINVAL the list is not as long as the buffer beside it */
export function checkListLength(segments: readonly Segment[], buffer: Uint8Array): void {
  const total = listLength(segments)
  if (total !== buffer.length)
    throw new ErrnoError('EINVAL', `dma list of ${total} bytes: the buffer has ${buffer.length}`)
}

/** Does each segment with its part of a buffer that is as long as the list. @returns a promise where any of them is one */
export function forEachSegment(
  segments: readonly Segment[],
  buffer: Uint8Array,
  access: (iova: number, part: Uint8Array) => Done,
): Done {
  return inParts((part) => {
    let done = 0
    for (const { iova, length } of segments) {
      part(access(iova, buffer.subarray(done, done + length)))
      done += length
    }
  })
}
