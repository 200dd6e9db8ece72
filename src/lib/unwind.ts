/** Steps that must all happen undo themselves, newest first, when one of them fails. */

/**
 * A stack of undo steps for `using`.
 *
 * ```ts
 * using undo = new Unwind()
 * const fd = openSync(path)
 * undo.defer(() => closeSync(fd))
 * register(fd) // if this throws, fd is closed
 * undo.keep()
 * ```
 */
export class Unwind implements Disposable {
  #steps: (() => void)[] = []

  /** Adds a step that undoes what has just been done. */
  defer(step: () => void): void {
    this.#steps.push(step)
  }

  /** All went well: forget the steps. */
  keep(): void {
    this.#steps = []
  }

  /**
   * Runs the steps, newest first; every step runs, even after one that throws.
   *
   * @throws the first error thrown by a step
   */
  [Symbol.dispose](): void {
    const errors: unknown[] = []
    for (const step of this.#steps.splice(0).toReversed()) {
      try {
        step()
      } catch (error) {
        errors.push(error)
      }
    }
    if (errors.length > 0) throw errors[0]
  }
}
