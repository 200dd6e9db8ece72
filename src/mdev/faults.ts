/** What a driver does wrong in calls that cannot be refused: it is logged, told, and goes no further. */
import { describeError, ErrnoError } from '../lib/errno.ts'
import type { Logger } from '../lib/log.ts'
import { isPromise } from '../lib/promise.ts'

export class Faults {
  readonly #log: Logger
  readonly #last = new Map<string, string>()

  constructor(log: Logger) {
    this.#log = log
  }

  /** Which of its functions failed when last called, and how: `status: no such file`. */
  get texts(): readonly string[] {
    return [...this.#last].map(([what, message]) => `${what}: ${message}`)
  }

  /**
   * What `question` comes to, or `otherwise` where it fails. It may be asked often: the same fault in a row is logged once.
   *
   * @param what  the driver's function
   * @param check makes an answer of what it gives; throws where it is none
   */
  ask<R>(what: string, otherwise: R, question: () => unknown, check: (given: unknown) => R): R {
    try {
      const given = question()
      if (isPromise(given)) throw promised(given)
      const answer = check(given)
      this.#last.delete(what)
      return answer
    } catch (error) {
      this.noteOnce(what, error)
      return otherwise
    }
  }

  /** Calls what nobody waits for. A promise of it is heard of, too. */
  tell(what: string, call: () => unknown): void {
    try {
      const made = call()
      this.#last.delete(what)
      if (isPromise(made)) made.then(undefined, (error: unknown) => this.note(what, error))
    } catch (error) {
      this.note(what, error)
    }
  }

  /** As {@link note}, but the same in a row is logged once. */
  noteOnce(what: string, error: unknown): void {
    if (this.#last.get(what) !== describeError(error)) this.note(what, error)
  }

  note(what: string, error: unknown): void {
    this.#last.set(what, describeError(error))
    this.#log.error(`driver's ${what}`, error)
  }
}

/** A value that was to be there at once. What becomes of it nobody hears, or its failure would end the process. */
function promised(answer: PromiseLike<unknown>): ErrnoError {
  answer.then(undefined, () => {})
  return new ErrnoError('EINVAL', 'gives a promise')
}
