/**
 * Decides whether polling for the next message pays, from what it has led to.
 *
 * It pays when the peer runs on another processor and answers while we poll: that saves a wake-up. On our own processor the
 * peer cannot run while we poll, so polling only keeps it waiting. Which of the two it is changes at the scheduler's whim,
 * so gains and losses are booked, in microseconds, and polling goes on while the balance is positive.
 */
import { preemptions } from './context-switches.ts'

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

/**
 * Of so many messages found while polling, half may be stolen ones: the scheduler had taken the processor from us, and the
 * sender ran on it. More than that, and the peer shares our processor. Asking costs 0.4 us, so it is not done each time.
 */
const GAINS_PER_CHECK = 16

/** Decides about polling, and is told what came of it. */
export interface Spinning {
  shouldSpin(): boolean
  gain(us: number): void
  lose(us: number): void
}

/** Sleeps whenever there is nothing to do, as a server that knows nothing of polling does. */
export const NEVER_SPIN: Spinning = { shouldSpin: () => false, gain() {}, lose() {} }

export class SpinPolicy implements Spinning {
  readonly #preemptions: () => number
  #balanceUs = FIRST_BALANCE_US
  #chances = 0
  #probeInterval = MIN_PROBE_INTERVAL
  #gains = 0
  /** As of the last check, or of the start of a probe. */
  #preempted: number

  /** @param preempted how often this thread has lost its processor so far */
  constructor(preempted: () => number = preemptions) {
    this.#preemptions = preempted
    this.#preempted = preempted()
  }

  /** Whether to poll now; to be asked whenever there is nothing left to do. */
  shouldSpin(): boolean {
    if (this.#balanceUs > 0) return true
    if (++this.#chances % this.#probeInterval !== 0) return false
    this.#preempted = this.#preemptions()
    return true
  }

  /** The next message came while we polled. @param us how long we polled */
  gain(us = 0): void {
    if (this.#isStolen()) {
      this.#balanceUs = 0
      this.lose(us)
      return
    }
    this.#balanceUs = Math.min(Math.max(this.#balanceUs, 0) + GAIN_US, MAX_BALANCE_US)
    this.#probeInterval = MIN_PROBE_INTERVAL
  }

  /** Nothing came. @param us how long we polled */
  lose(us: number): void {
    this.#chances = 0
    if (this.#balanceUs > 0) this.#balanceUs -= Math.min(us, MAX_LOSS_US)
    else this.#probeInterval = Math.min(this.#probeInterval * 2, MAX_PROBE_INTERVAL)
  }

  /** Whether the peer had to take the processor from us to send: now and then while polling, exactly in a probe. */
  #isStolen(): boolean {
    const probing = this.#balanceUs <= 0
    if (!probing && ++this.#gains % GAINS_PER_CHECK !== 0) return false
    const before = this.#preempted
    this.#preempted = this.#preemptions()
    return this.#preempted - before > (probing ? 0 : GAINS_PER_CHECK / 2)
  }
}
