/** Time for whoever acts again and again, so that tests can have their own. */

export interface Clock {
  /** Calls `action` every `ms` milliseconds from now on. @returns what calls it off */
  every(ms: number, action: () => void): () => void
}

/** The machine's. Its timers keep no process alive. */
export const systemClock: Clock = {
  every(ms, action) {
    const timer = setInterval(action, ms).unref()
    return () => clearInterval(timer)
  },
}
