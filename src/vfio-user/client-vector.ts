/** One interrupt vector of a device as a client gets it: an eventfd, waited for by the reactor. */
import type { ErrnoError } from '../lib/errno.ts'
import { EventFd } from '../os/eventfd.ts'
import { EPOLLIN, type Reactor, type Watch } from '../os/reactor.ts'

export interface WaitOptions {
  /** Ends the waiting, which rejects with the signal's reason. */
  readonly signal?: AbortSignal
}

/** Masks and unmasks vectors. */
export interface Masker {
  mask(vector: number): Promise<void>
  unmask(vector: number): Promise<void>
}

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: Error) => void
}

/**
 * A vector, of {@link ClientInterrupts.vector}. Several interrupts that come while nobody looks may be one.
 *
 * ```ts
 * for await (const count of interrupts.vector(3)) console.log(`vector 3: ${count} more`)
 * ```
 */
export class ClientVector implements AsyncIterable<number> {
  readonly index: number
  readonly #masker: Masker
  readonly #eventfd = EventFd.create()
  readonly #watch: Watch
  /** Interrupts that nobody has waited for: counted, so that any number of them takes no room. */
  #unclaimed = 0
  readonly #waiters = new Set<Waiter>()
  readonly #listeners = new Set<() => void>()
  /** Why no more will come, and whether that was this end's wish. */
  #ended: { readonly error: ErrnoError; readonly isWanted: boolean } | undefined

  /** @throws EMFILE, ENFILE, ENOSPC */
  constructor(index: number, reactor: Reactor, masker: Masker) {
    this.index = index
    this.#masker = masker
    try {
      this.#watch = reactor.watch(this.#eventfd.fd, EPOLLIN, () => this.#arrived())
    } catch (error) {
      this.#eventfd.close()
      throw error
    }
  }

  /** For the server; closed here. */
  get fd(): number {
    return this.#eventfd.fd
  }

  /**
   * Waits for the next interrupt; one that came before, and that nobody waited for, counts.
   *
   * @throws ECANCELED disabled · ECONNRESET the connection has ended · the reason of `signal`
   */
  async next({ signal }: WaitOptions = {}): Promise<void> {
    signal?.throwIfAborted()
    if (this.#unclaimed > 0) {
      this.#unclaimed--
      return
    }
    if (this.#ended !== undefined) throw this.#ended.error
    await this.#wait(signal)
  }

  /**
   * Goes on with each interrupt: at every step, how many came since the last. Ends when the interrupts are disabled or the
   * client detaches.
   *
   * @throws ECONNRESET the server has ended the connection · the reason of `signal`
   */
  async *each(options: WaitOptions = {}): AsyncGenerator<number, void, undefined> {
    for (;;) {
      try {
        await this.next(options)
      } catch (error) {
        if (this.#ended?.isWanted === true && error === this.#ended.error) return
        throw error
      }
      const count = 1 + this.#unclaimed
      this.#unclaimed = 0
      yield count
    }
  }

  [Symbol.asyncIterator](): AsyncGenerator<number, void, undefined> {
    return this.each()
  }

  /**
   * Calls `listener` for each interrupt from now on; {@link next} sees none of these.
   *
   * @param listener what it throws is an uncaught exception
   * @returns what ends that; idempotent
   */
  onInterrupt(listener: () => void): () => void {
    const own = () => listener() // the same function may listen twice
    this.#listeners.add(own)
    return () => void this.#listeners.delete(own)
  }

  /** Holds interrupts back until {@link unmask}. @throws EINVAL this kind cannot be masked here */
  async mask(): Promise<void> {
    await this.#masker.mask(this.index)
  }

  /** Lets interrupts come. A level-triggered one masks itself when it comes. @throws as {@link mask} */
  async unmask(): Promise<void> {
    await this.#masker.unmask(this.index)
  }

  /** No more will come. @param isWanted whether this end wants it so */
  end(error: ErrnoError, isWanted: boolean): void {
    if (this.#ended !== undefined) return
    this.#ended = { error, isWanted }
    this.#watch.close()
    this.#eventfd.close()
    this.#listeners.clear()
    for (const { reject } of this.#waiters) reject(error)
    this.#waiters.clear()
  }

  async #wait(signal: AbortSignal | undefined): Promise<void> {
    let abort = () => {}
    try {
      await new Promise<void>((resolve, reject) => {
        const waiter = { resolve, reject }
        this.#waiters.add(waiter)
        abort = () => {
          this.#waiters.delete(waiter)
          reject(signal?.reason as Error)
        }
        signal?.addEventListener('abort', abort)
      })
    } finally {
      signal?.removeEventListener('abort', abort)
    }
  }

  #arrived(): void {
    if (!this.#eventfd.drain()) return
    if (this.#listeners.size > 0) {
      for (const listener of this.#listeners) listener()
      return
    }
    const [waiter] = this.#waiters
    if (waiter === undefined) {
      this.#unclaimed++
      return
    }
    this.#waiters.delete(waiter)
    waiter.resolve()
  }
}
