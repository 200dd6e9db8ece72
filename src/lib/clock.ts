/** Time for whoever acts again and again or gives up at last, so that tests can have their own. */
import { ErrnoError } from './errno.ts'

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

/**
 * What `promise` comes to, if it does so in time; after that nobody hears of it.
 *
 * @param what for the message: `driver nvme: open`
 * @throws ETIMEDOUT · what `promise` is rejected with
 */
export async function inTime<T>(
  promise: PromiseLike<T>,
  what: string,
  ms: number,
  clock: Clock,
): Promise<T> {
  let callOff: () => void = () => {}
  const late = new Promise<never>((_resolve, reject) => {
    callOff = clock.after(ms, () =>
      reject(new ErrnoError('ETIMEDOUT', `${what}: not done after ${ms / 1000} s`)),
    )
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    callOff()
  }
}
