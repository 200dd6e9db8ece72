/** Time as a device needs it, so that tests can have their own. */
import { shortTimers } from '../os/short-timers.ts'

export interface Clock {
  /** Milliseconds, monotonic. */
  now(): number
  /** Calls `action` once, `ms` milliseconds from now; fractions count. @returns what calls it off */
  after(ms: number, action: () => void): () => void
}

/** Longest time, ms, for which a millisecond more or less matters. */
const SHORT_MS = 5

/** The machine's. Its timers keep no process alive, but for those of a few milliseconds. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(ms, action) {
    if (ms < SHORT_MS && ms > 0) return shortTimers().after(ms, action)
    const timer = setTimeout(action, Math.ceil(ms)).unref()
    return () => clearTimeout(timer)
  },
}
