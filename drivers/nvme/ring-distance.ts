/** Rings, which all queues are (4.1). */

/** How many entries there are from one index up to another, in a ring of `size`. */
export function ringDistance(from: number, to: number, size: number): number {
  return to >= from ? to - from : to + size - from
}
