/**
 * Looks at doorbells in memory, and goes on looking for a while after the guest has moved one: what it stores meanwhile needs
 * no ring. How long depends on how often that paid: a guest that waits for each of its commands moves nothing meanwhile.
 */
import type { Queues } from './queues.ts'

/** Most turns of the event loop without anything new after which the guest is asked to ring. */
const MAX_TURNS = 32

export class ShadowPoll {
  readonly #onTurn: () => void
  /** How many turns to go on for; 0 is not at all. */
  #turns = 0
  /** Turns left; 0 while the guest rings. */
  #left = 0
  #found = false
  #isTurn = false
  #next: NodeJS.Immediate | undefined

  /** @param onTurn to call {@link look} and {@link settle} */
  constructor(onTurn: () => void) {
    this.#onTurn = onTurn
  }

  /** Takes the tails that the guest has stored. */
  look(queues: Queues): void {
    const count = this.#lookAt(queues)
    if (count === 0) return
    this.#found ||= this.#left > 0
    if (count > 1) this.#turns ||= 1 // there are more where these came from
    this.#lookOn(queues)
  }

  /** All that was found is under way: decides whether to go on looking. @returns whether there is more by now */
  settle(queues: Queues): boolean {
    const isTurn = this.#isTurn
    this.#isTurn = false
    if (isTurn && --this.#left === 0) this.#learn()
    if (this.#left > 0) {
      this.#next ??= setImmediate(this.#turn)
      return false
    }
    for (const queue of queues.submission.values()) queue.ask()
    if (this.#lookAt(queues) === 0) return false
    this.#turns ||= 1 // it did not wait for what it has sent before
    this.#lookOn(queues)
    return true
  }

  /** No more turns. */
  stop(): void {
    if (this.#next !== undefined) clearImmediate(this.#next)
    this.#next = undefined
    this.#left = 0
    this.#isTurn = false
  }

  readonly #turn = (): void => {
    this.#next = undefined
    this.#isTurn = true
    this.#onTurn()
  }

  #learn(): void {
    this.#turns = this.#found ? Math.min(2 * this.#turns, MAX_TURNS) : this.#turns >> 1
    this.#found = false
  }

  /** Has the guest not ring, if it is looked at from now on. */
  #lookOn(queues: Queues): void {
    this.#left = this.#turns
    this.#isTurn = false
    if (this.#left > 0) for (const queue of queues.submission.values()) queue.hush()
  }

  /** @returns how many entries there are to be taken */
  #lookAt(queues: Queues): number {
    let count = 0
    for (const queue of queues.submission.values()) {
      queue.look()
      if (queue.shadow !== undefined) count += queue.work
    }
    return count
  }
}
