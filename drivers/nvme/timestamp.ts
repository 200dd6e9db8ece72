/** The timestamp feature (5.21.1.14): milliseconds since 1970 as far as the guest has said, else since the controller started. */
import type { Clock } from 'mdevkit'

/** Timestamp Origin: who set it. */
const SET_BY_HOST = 1 << 1
const SIZE = 8
const BYTES_OF_TIME = 6

export class Timestamp {
  readonly #clock: Clock
  #base: number
  #setAt: number
  #origin = 0

  constructor(clock: Clock) {
    this.#clock = clock
    this.#base = 0
    this.#setAt = clock.now()
  }

  set(ms: number): void {
    this.#base = ms
    this.#setAt = this.#clock.now()
    this.#origin = SET_BY_HOST
  }

  /** As Get Features gives it. */
  get bytes(): Uint8Array {
    const bytes = Buffer.alloc(SIZE)
    const now = Math.floor(this.#base + this.#clock.now() - this.#setAt)
    bytes.writeUIntLE(now % 2 ** 48, 0, BYTES_OF_TIME)
    bytes[BYTES_OF_TIME] = this.#origin
    return bytes
  }
}

/** The time that Set Features gives. */
export function readTimestamp(bytes: Uint8Array): number {
  return Buffer.from(bytes).readUIntLE(0, BYTES_OF_TIME)
}
