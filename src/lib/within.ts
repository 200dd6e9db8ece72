/** Waiting, but not for ever. */
import type { Clock } from './clock.ts'
import { ErrnoError } from './errno.ts'

/**
 * Awaits `work`, until time is up or `outer` calls it off.
 *
 * @param work is given a signal that says so: it then gives back what it has taken, and what it comes to is not looked at
 * @param late what is thrown when time is up
 * @throws what `work` throws · the reason of `outer`
 */
export async function within<T>(
  clock: Pick<Clock, 'after'>,
  ms: number,
  late: () => Error,
  work: (signal: AbortSignal) => Promise<T>,
  outer?: AbortSignal,
): Promise<T> {
  const end = new AbortController()
  const stop = clock.after(ms, () => end.abort(late()))
  const onOuter = () => end.abort(outer?.reason)
  outer?.addEventListener('abort', onOuter)
  if (outer?.aborted === true) onOuter()
  try {
    return await unlessAborted(end.signal, work(end.signal))
  } finally {
    stop()
    outer?.removeEventListener('abort', onOuter)
  }
}

/** What `promise` comes to, or the reason of `signal` where that comes first; `promise` is then heard no more. */
export async function unlessAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  let onAbort = () => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    onAbort = () => reject(signal.reason)
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
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
  clock: Pick<Clock, 'after'>,
): Promise<T> {
  const late = () => new ErrnoError('ETIMEDOUT', `${what}: not done after ${ms / 1000} s`)
  return within(clock, ms, late, async () => promise)
}
