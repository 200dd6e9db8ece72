/** Where the data of a command lies in guest memory, as a list that is filled again for each command. */
import type { Segment } from 'mdevkit'

interface MutableSegment {
  iova: number
  length: number
}

export class SegmentList {
  readonly #segments: MutableSegment[] = []
  #count = 0

  clear(): void {
    this.#count = 0
  }

  /** Adds what follows; a neighbour of the last segment makes that one longer. */
  add(iova: number, length: number): void {
    const last = this.#count > 0 ? this.#segments[this.#count - 1] : undefined
    if (last !== undefined && last.iova + last.length === iova) {
      last.length += length
      return
    }
    const next = this.#segments[this.#count++]
    if (next === undefined) this.#segments.push({ iova, length })
    else {
      next.iova = iova
      next.length = length
    }
  }

  /** What was added; until it is cleared. */
  get list(): readonly Segment[] {
    while (this.#segments.length > this.#count) this.#segments.pop()
    return this.#segments
  }
}
