/**
 * Decides how a guest's commands are heard of: by a ring for each, which costs it an exit and us a wake-up, or by looking now
 * and then, for several at once. A guest that waits for each command must not wait for a look as well; one that has many
 * under way gains by being left alone. Which of the two it is shows in how many commands come in a while: looking is tried,
 * and kept to while hardly fewer come than with rings; if not, it is tried again after a far longer time.
 */

/** Times between looks, ms: what a timer can do, and what a guest may wait for at most. */
const MIN_MS = 0.05
const MAX_MS = 1
/** Entries that a look is to find: with fewer the next one comes later, with more than the second number earlier. */
const FEW = 8
const MANY = 16
const SLOWER = 1.5
const FASTER = 0.5
/** Without anything new for so long, ms, the guest is to ring again. */
const REST_MS = 1
/** Looks in a row that find a single entry: that guest waits for each. */
const MAX_LONELY = 8
/** Entries that decide whether it pays. */
const TRIAL = 64
/** Entries until it is tried again after it did not pay, so many times more each time. */
const MAX_PATIENCE = 2 ** 20
const PATIENCE_STEP = 4
/** It pays where so much of the ringing guest's rate is kept: it costs both sides less. */
const KEPT = 0.9
/** Longest break, ms, that counts: the guest had nothing to do. */
const MAX_GAP_MS = 2

export class LookPace {
  /** Time until the next look, ms; undefined: the guest is to ring. */
  interval: number | undefined
  /** Whether the guest is looked at, if it has something to do. */
  #isTimed = false
  #ms = MIN_MS
  #emptyMs = 0
  #lonely = 0
  #patience = TRIAL
  /** Entries a millisecond while it rang. */
  #rung = 0
  /** Of the stretch that is being measured. */
  #entries = 0
  #stretchMs = 0
  #last: number | undefined

  /**
   * There was a look, because of a ring or by the time.
   *
   * @param entries that it found · @param now ms
   */
  looked(entries: number, now: number): void {
    this.#stretchMs += Math.min(now - (this.#last ?? now), MAX_GAP_MS)
    this.#last = now
    this.#entries += entries
    if (this.#isTimed) this.#adjust(entries)
    else if (this.#entries >= this.#patience) this.#tryLooking()
  }

  #tryLooking(): void {
    this.#rung = this.#entries / this.#stretchMs
    this.#isTimed = true
    this.#lonely = 0
    this.#emptyMs = 0
    this.interval = this.#ms = MIN_MS
    this.#beginStretch()
  }

  #adjust(entries: number): void {
    const waited = this.interval ?? 0
    this.#emptyMs = entries === 0 ? this.#emptyMs + waited : 0
    if (entries > 0) this.#lonely = entries === 1 ? this.#lonely + 1 : 0
    if (this.#entries >= TRIAL) {
      const isKept = this.#entries >= KEPT * this.#rung * this.#stretchMs
      this.#beginStretch()
      if (!isKept) return this.#leave()
      this.#patience = TRIAL
    }
    if (this.#emptyMs >= REST_MS) {
      this.interval = undefined
      this.#emptyMs = 0
      return
    }
    if (this.#lonely >= MAX_LONELY) return this.#leave()
    if (entries < FEW) this.#ms = Math.min(this.#ms * SLOWER, MAX_MS)
    else if (entries > MANY) this.#ms = Math.max(this.#ms * FASTER, MIN_MS)
    this.interval = this.#ms
  }

  /** It did not pay. */
  #leave(): void {
    this.#isTimed = false
    this.interval = undefined
    this.#patience = Math.min(this.#patience * PATIENCE_STEP, MAX_PATIENCE)
    this.#beginStretch()
  }

  #beginStretch(): void {
    this.#entries = 0
    this.#stretchMs = 0
  }
}
