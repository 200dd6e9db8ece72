/**
 * Looks at doorbells in memory, and goes on looking for a while after the guest has moved one: what it stores meanwhile needs
 * no ring. How long depends on how often that paid.
 */
import type { Queues } from './queues.ts'

/** Turns of the event loop without anything new after which the guest is asked to ring. */
const MIN_TURNS = 1
const MAX_TURNS = 32

export class ShadowPoll {
  readonly #onTurn: () => void
  #turns = MIN_TURNS
  /** Turns left; 0 while the guest rings. */
  #left = 0
  #found = false
  #isTurn = false
  #next: NodeJS.Immediate | undefined

  /** @param onTurn to call {@link look} */
  constructor(onTurn: () => void) {
    this.#onTurn = onTurn
  }

  /** Takes the tails that the guest has stored, and decides whether to go on looking. */
  look(queues: Queues): void {
    const isTurn = this.#isTurn
    this.#isTurn = false
    if (this.#lookAt(queues)) {
      this.#found ||= this.#left > 0
      this.#lookOn(queues)
    } else if (isTurn && --this.#left === 0) this.#end(queues)
    if (this.#left > 0) this.#next ??= setImmediate(this.#turn)
  }

  /** No more turns. */
  stop(): void {
    if (this.#next !== undefined) clearImmediate(this.#next)
    this.#next = undefined
    this.#left = 0
    this.#isTurn = false
  }

  #turn = (): void => {
    this.#next = undefined
    this.#isTurn = true
    this.#onTurn()
  }

  /** Has the guest ring again, unless it has just stored something. */
  #end(queues: Queues): void {
    this.#turns = this.#found
      ? Math.min(2 * this.#turns, MAX_TURNS)
      : Math.max(this.#turns / 2, MIN_TURNS)
    this.#found = false
    for (const queue of queues.submission.values()) queue.ask()
    if (this.#lookAt(queues)) this.#lookOn(queues)
  }

  #lookOn(queues: Queues): void {
    for (const queue of queues.submission.values()) queue.hush()
    this.#left = this.#turns
  }

  #lookAt(queues: Queues): boolean {
    let found = false
    for (const queue of queues.submission.values()) {
      queue.look()
      found ||= queue.shadow !== undefined && queue.hasWork
    }
    return found
  }
}
