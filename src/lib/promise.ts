/** Promises of others, which need not be of our kind. */

/** Whether a value is there only later. */
export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | undefined | null)?.then === 'function'
}
