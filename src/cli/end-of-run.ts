/** When a command that runs in the foreground ends. */

/**
 * Resolves at SIGINT or SIGTERM, or when `signal` is aborted; rejects with what nobody caught, so that the way out is the
 * same.
 */
export function endOfRun(signal?: AbortSignal): Promise<void> {
  const ended = new Promise<void>((resolve, reject) => {
    process.once('SIGINT', () => resolve())
    process.once('SIGTERM', () => resolve())
    process.once('uncaughtException', reject)
    signal?.addEventListener('abort', () => resolve(), { once: true })
  })
  ended.catch(() => {}) // it may reject before anybody waits for it
  return ended
}
