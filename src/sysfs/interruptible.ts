/** Waiting that ends when the waiter is interrupted. */
import { ErrnoError } from '../lib/errno.ts'

/**
 * What `work` comes to. What it was about goes on after an interruption: nobody hears then how it ended.
 *
 * @throws EINTR `signal` was aborted first · what `work` throws
 */
export async function interruptible<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  let interrupt = (): void => {}
  const interrupted = new Promise<never>((_resolve, reject) => {
    interrupt = () => reject(new ErrnoError('EINTR', 'the caller was interrupted'))
  })
  signal.addEventListener('abort', interrupt)
  if (signal.aborted) interrupt()
  try {
    return await Promise.race([work, interrupted])
  } finally {
    signal.removeEventListener('abort', interrupt)
  }
}
