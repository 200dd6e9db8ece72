/** Looks at doorbells in memory: when the guest rings, and while that pays by the time instead. */
import type { Clock } from 'mdevkit'
import { LookPace } from './look-pace.ts'
import type { Queues } from './queues.ts'

export class ShadowPoll {
  readonly #clock: Clock
  readonly #onTime: () => void
  readonly #pace = new LookPace()
  /** Entries that were found since the last {@link settle}. */
  #entries = 0
  /** It is time to look. */
  #isTime = false
  #callOff: (() => void) | undefined

  /** @param onTime to call {@link look} and {@link settle} */
  constructor(clock: Clock, onTime: () => void) {
    this.#clock = clock
    this.#onTime = onTime
  }

  /** Takes the tails that the guest has stored. */
  look(queues: Queues): void {
    this.#lookAt(queues)
  }

  /**
   * All that was found is under way, and what has ended of it was not told yet: decides how the next is heard of.
   *
   * @returns whether there is more by now
   */
  settle(queues: Queues): boolean {
    if (this.#entries > 0 || this.#isTime) {
      this.#pace.looked(this.#entries, this.#clock.now())
      this.#entries = 0
    }
    this.#isTime = false
    const { interval } = this.#pace
    if (interval !== undefined) {
      for (const queue of queues.submission.values()) queue.hush()
      this.#callOff ??= this.#clock.after(interval, this.#time)
      return false
    }
    for (const queue of queues.submission.values()) queue.ask()
    return this.#lookAt(queues) > 0
  }

  /** No more looks by the time. */
  stop(): void {
    this.#callOff?.()
    this.#callOff = undefined
    this.#isTime = false
  }

  readonly #time = (): void => {
    this.#callOff = undefined
    this.#isTime = true
    this.#onTime()
  }

  /** @returns how many entries are new */
  #lookAt(queues: Queues): number {
    let count = 0
    for (const queue of queues.submission.values()) {
      const before = queue.work
      queue.look()
      count += queue.work - before
    }
    this.#entries += count
    return count
  }
}
