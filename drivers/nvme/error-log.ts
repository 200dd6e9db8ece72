/** The error log (5.14.1.1): the last commands that ended otherwise than well. */
import type { Command } from './command.ts'
import { page } from './page.ts'

/** Entries that are kept, and bytes of one. */
export const ERROR_LOG_ENTRIES = 64
const ENTRY_SIZE = 64
/** Parameter Error Location: not told. */
const NO_LOCATION = 0xffff

interface LoggedError {
  readonly count: number
  readonly queue: number
  readonly id: number
  readonly status: number
  readonly block: number
  readonly nsid: number
}

export class ErrorLog {
  /** The newest first. */
  readonly #errors: LoggedError[] = []
  #count = 0

  /** Errors since the controller was made. */
  get count(): number {
    return this.#count
  }

  add({ queue, id, status, startBlock, nsid }: Command): void {
    this.#count++
    this.#errors.unshift({
      count: this.#count,
      queue: queue.id,
      id,
      status,
      block: queue.id === 0 ? 0 : Math.min(startBlock, Number.MAX_SAFE_INTEGER),
      nsid,
    })
    if (this.#errors.length > ERROR_LOG_ENTRIES) this.#errors.pop()
  }

  /** As the log page has it. */
  get bytes(): Uint8Array {
    const entries = this.#errors.map(({ count, queue, id, status, block, nsid }) =>
      page(ENTRY_SIZE, [
        [0, 'u64', count],
        [8, 'u16', queue],
        [10, 'u16', id],
        [12, 'u16', (status * 2) & 0xffff], // without the phase
        [14, 'u16', NO_LOCATION],
        [16, 'u64', block],
        [24, 'u32', nsid],
      ]),
    )
    return Buffer.concat(entries, ERROR_LOG_ENTRIES * ENTRY_SIZE)
  }
}
