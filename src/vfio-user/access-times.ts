/** How long register accesses take as the server sees them: from the received request to the sent reply. */

/** Buckets per doubling of time: values are exact to about 9 %. */
const PER_OCTAVE = 8
const BUCKETS = 40 * PER_OCTAVE

/** A histogram of durations on a logarithmic scale, in nanoseconds; adding allocates nothing. */
export class AccessTimes {
  readonly #buckets = new Uint32Array(BUCKETS)
  #count = 0

  /** Adds `count` accesses that took `ms` together. */
  add(ms: number, count: number): void {
    const ns = Math.max(1, (ms * 1e6) / count)
    const bucket = Math.min(BUCKETS - 1, Math.round(Math.log2(ns) * PER_OCTAVE))
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + count
    this.#count += count
  }

  get count(): number {
    return this.#count
  }

  /** The duration that a share of the accesses did not exceed, in ns; 0 when there were none. @param share 0 to 1 */
  quantile(share: number): number {
    let left = share * this.#count
    for (const [bucket, count] of this.#buckets.entries()) {
      left -= count
      if (count > 0 && left <= 0) return 2 ** (bucket / PER_OCTAVE)
    }
    return 0
  }
}
