/** Time for whoever acts again and again or gives up at last, so that tests can have their own. */

export interface Clock {
  /** Calls `action` every `ms` milliseconds from now on. @returns what calls it off */
  every(ms: number, action: () => void): () => void
  /** Calls `action` once, `ms` milliseconds from now. @returns what calls it off */
  after(ms: number, action: () => void): () => void
}

/** The machine's. What repeats keeps no process alive; what is waited for does. */
export const systemClock: Clock = {
  every(ms, action) {
    const timer = setInterval(action, ms).unref()
    return () => clearInterval(timer)
  },
  after(ms, action) {
    const timer = setTimeout(action, ms)
    return () => clearTimeout(timer)
  },
}
