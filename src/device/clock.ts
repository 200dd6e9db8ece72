/** Time as a device needs it, so that tests can have their own. */

export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number
  /** Calls `action` once, `ms` milliseconds from now. @returns what calls it off */
  after(ms: number, action: () => void): () => void
}

/** The machine's. Its timers keep no process alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, action) {
    const timer = setTimeout(action, Math.ceil(ms)).unref()
    return () => clearTimeout(timer)
  },
}
