/** Waiting for what no event tells of: it is looked at again and again, and a wait that is in vain says what was seen last. */
import assert from 'node:assert/strict'
import { setImmediate as turn, setTimeout as sleep } from 'node:timers/promises'

/** Many times what anything takes, and far from the end of the runner's patience, who could only say that a test hangs. */
const PATIENCE_MS = 90_000
const PAUSE_MS = 5

export interface UntilOptions {
  readonly patienceMs?: number
  /** Between two looks; 0 lets this process alone go on. */
  readonly pauseMs?: number
}

/**
 * Resolves with what `look` returns, once it neither throws an assertion's error nor returns false.
 *
 * @param look says by its assertions, or by the words of `expected`, what is not as it should be
 * @throws what `look` threw last, when that has not come to pass after a long time
 */
export async function until<T>(
  look: () => T | false | Promise<T | false>,
  expected = 'it to come about',
  { patienceMs = PATIENCE_MS, pauseMs = PAUSE_MS }: UntilOptions = {},
): Promise<T> {
  const began = performance.now()
  for (;;) {
    try {
      const seen = await look()
      if (seen !== false) return seen
      throw new assert.AssertionError({ message: `expected ${expected}`, operator: 'until' })
    } catch (error) {
      if (!(error instanceof assert.AssertionError)) throw error
      if (performance.now() - began >= patienceMs) {
        error.message = `not within ${patienceMs} ms: ${error.message}`
        throw error
      }
      await (pauseMs > 0 ? sleep(pauseMs) : turn())
    }
  }
}
