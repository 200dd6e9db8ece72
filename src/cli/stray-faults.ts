/** What a driver does wrong where nobody called it: in a timer, or in a promise that nobody waits for. */
import { describeFault } from '../lib/driver-fault.ts'
import type { Logger } from '../lib/log.ts'

export class StrayFaults {
  /** Whose driver it is; undefined while that is loaded. */
  parent: { noteStray(error: unknown): void } | undefined
  readonly #log: Logger

  constructor(log: Logger) {
    this.#log = log
  }

  note(error: unknown): void {
    if (this.parent !== undefined) this.parent.noteStray(error)
    else this.#log.error(`driver: ${describeFault(error)}`)
  }
}
