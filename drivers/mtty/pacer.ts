/**
 * Keeps a fast far end from drowning a guest in received data.
 *
 * A line has no speed here, so a guest that reads until nothing is left would not come out of its interrupt handler while
 * the far end goes on sending: with 200 kB Linux reports a soft lockup, and the work that would have throttled the sender
 * (crtscts) never runs. So now and then an interrupt-driven guest finds the FIFO empty for a while. A guest that polls is
 * never held up.
 */
import type { Clock } from 'mdevkit'

/** Characters between two rests. */
const BURST = 128
/** Long enough to leave the handler and do something else; it costs an emulated guest, at 80 us an access, an eighth of its speed. */
const REST_MS = 2

export class Pacer {
  readonly #clock: Clock
  readonly #onRested: () => void
  #count = 0
  #callOff: (() => void) | undefined

  constructor(clock: Clock, onRested: () => void) {
    this.#clock = clock
    this.#onRested = onRested
  }

  /** Whether characters may pass. */
  get ready(): boolean {
    return this.#count < BURST
  }

  /** A character has passed. */
  passed(): void {
    this.#count++
  }

  /** There is nothing to pass: that is a rest too. */
  ranDry(): void {
    this.#count = 0
  }

  /** To be called after every access. The rest begins when the guest has read all it was given. */
  watch(interrupts: boolean, drained: boolean): void {
    if (!interrupts) {
      this.stop()
    } else if (!this.ready && drained) {
      this.#callOff ??= this.#clock.after(REST_MS, () => {
        this.stop()
        this.#onRested()
      })
    }
  }

  /** No rest now, and no timer. */
  stop(): void {
    this.#callOff?.()
    this.#callOff = undefined
    this.#count = 0
  }
}
