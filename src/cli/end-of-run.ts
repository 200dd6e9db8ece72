/** When a command that runs in the foreground ends. */
import { placeOf } from '../lib/driver-fault.ts'

/**
 * Resolves at SIGINT or SIGTERM, or when `signal` is aborted; rejects with what nobody caught, so that the way out is the
 * same.
 *
 * @param onFault told, where a driver runs, of what does not end it: promises that are rejected and nobody waits for, and what
 *                the driver throws where nobody called it, as in a timer. A guest may be what leads to it
 */
export function endOfRun(signal?: AbortSignal, onFault?: (error: unknown) => void): Promise<void> {
  const ended = new Promise<void>((resolve, reject) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
    const onUncaught = (error: unknown, origin: string): void => {
      const isDriver = origin === 'unhandledRejection' || placeOf(error) !== undefined
      if (onFault !== undefined && isDriver) return onFault(error)
      process.off('uncaughtException', onUncaught) // on the way out another one is the end
      reject(error)
    }
    process.on('uncaughtException', onUncaught)
    signal?.addEventListener('abort', () => resolve(), { once: true })
  })
  ended.catch(() => {}) // it may reject before anybody waits for it
  return ended
}
