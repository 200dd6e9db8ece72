/** How long to wait before trying again: longer after each failure, until something has gone well. */

export interface BackOffOptions {
  /** The first wait, and the longest, ms. */
  readonly firstMs: number
  readonly longestMs: number
}

export class BackOff {
  readonly #options: BackOffOptions
  #failures = 0

  constructor(options: BackOffOptions) {
    this.#options = options
  }

  /** Failures since something went well. */
  get failures(): number {
    return this.#failures
  }

  /** It has failed. @returns how long to wait, ms: twice as long as the time before, up to the longest */
  failed(): number {
    const { firstMs, longestMs } = this.#options
    return Math.min(longestMs, firstMs * 2 ** this.#failures++)
  }

  /** It has gone well: the next failure is the first again. */
  succeeded(): void {
    this.#failures = 0
  }
}
