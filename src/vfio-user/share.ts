/** What one client may have done in one go, before the others get their turn. */

/** Most messages: some 50 us of ordinary accesses. */
const MAX_MESSAGES = 64
/** Most bytes that messages and their replies move: a driver is called once for every 4 of them, or less. */
const MAX_BYTES = 64 * 1024
/** Longest time, ms, for a driver that is slow. */
const MAX_MS = 0.25
/** A look at the clock costs a tenth of an access. */
const MESSAGES_PER_LOOK = 4

export class Share {
  #messages = 0
  #bytes = 0
  #began = 0

  /** Whether the go at hand is over. */
  get isUsedUp(): boolean {
    return this.#messages >= MAX_MESSAGES
  }

  /** A new go begins. */
  renew(): void {
    this.#messages = 0
    this.#bytes = 0
  }

  /** Books a message that moved `bytes`. @returns whether the next may follow */
  use(bytes: number): boolean {
    this.#bytes += bytes
    if (++this.#messages % MESSAGES_PER_LOOK === 0) this.#look()
    if (this.#bytes >= MAX_BYTES) this.#messages = MAX_MESSAGES
    return this.#messages < MAX_MESSAGES
  }

  /** From the first look on: so that a go of one message, which is nearly every one, costs none. */
  #look(): void {
    const now = performance.now()
    if (this.#messages === MESSAGES_PER_LOOK) this.#began = now
    else if (now - this.#began >= MAX_MS) this.#messages = MAX_MESSAGES
  }
}
