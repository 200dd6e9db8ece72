/**
 * Decides whether polling for the next message pays, from what it has led to.
 *
 * It pays when the peer runs on another processor and answers while we poll: that saves a wake-up. On our own processor the
 * peer cannot run while we poll, so polling only keeps it waiting. Which of the two it is changes at the scheduler's whim,
 * so gains and losses are booked, in microseconds, and polling goes on while the balance is positive.
 */

/** What a wake-up costs that polling has saved (measured: 20 to 45 us). */
const GAIN_US = 30
/** Most that one loss counts: the time polled in vain, at most this. */
const MAX_LOSS_US = 50
/** Gains beyond this are forgotten, so that a change of the traffic is noticed within a few losses. */
const MAX_BALANCE_US = 200
const FIRST_BALANCE_US = 100
/** While off, one chance in so many is tried; doubled by each loss up to the maximum. */
const MIN_PROBE_INTERVAL = 16
const MAX_PROBE_INTERVAL = 256

export class SpinPolicy {
  #balanceUs = FIRST_BALANCE_US
  #chances = 0
  #probeInterval = MIN_PROBE_INTERVAL

  /** Whether to poll now; to be asked whenever there is nothing left to do. */
  shouldSpin(): boolean {
    return this.#balanceUs > 0 || ++this.#chances % this.#probeInterval === 0
  }

  /** The next message came while we polled. */
  gain(): void {
    this.#balanceUs = Math.min(Math.max(this.#balanceUs, 0) + GAIN_US, MAX_BALANCE_US)
    this.#probeInterval = MIN_PROBE_INTERVAL
  }

  /** Nothing came, or the peer had to take the processor from us to send it. @param us how long we polled */
  lose(us: number): void {
    this.#chances = 0
    if (this.#balanceUs > 0) this.#balanceUs -= Math.min(us, MAX_LOSS_US)
    else this.#probeInterval = Math.min(this.#probeInterval * 2, MAX_PROBE_INTERVAL)
  }
}
