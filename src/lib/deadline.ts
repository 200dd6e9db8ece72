/** A limit to how long something may take, as a signal that ends it. */
import { ErrnoError } from './errno.ts'

/** For `using`: aborts its signal with ETIMEDOUT unless it is called off before. */
export class Deadline implements Disposable {
  readonly #controller = new AbortController()
  readonly #timer: NodeJS.Timeout | undefined

  /**
   * @param timeoutMs Infinity: there is none
   * @param what      who has not done what, followed by the time: `/run/x.sock: the daemon has not answered`
   */
  constructor(timeoutMs: number, what: string) {
    if (timeoutMs === Infinity) return
    this.#timer = setTimeout(() => {
      this.#controller.abort(new ErrnoError('ETIMEDOUT', `${what} in ${timeoutMs / 1000} s`))
    }, timeoutMs)
  }

  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Calls it off. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer)
  }
}
