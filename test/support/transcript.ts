/** What a program or a terminal says, and waiting for what it should say. */

const TIMEOUT_MS = 120_000 // so that a test says what it waited for, instead of being stopped
const LAST_CHARACTERS = 500

interface Waiter {
  look(): boolean
  fail(reason: string): void
}

/** Text that grows. What one wait has found is not found by the next. */
export class Transcript {
  readonly #name: string
  readonly #waiters = new Set<Waiter>()
  #text = ''
  #consumed = 0
  #ended: string | undefined

  /** @param name whose text it is, for messages */
  constructor(name: string) {
    this.#name = name
  }

  get text(): string {
    return this.#text
  }

  push(chunk: string): void {
    this.#text += chunk
    for (const waiter of this.#waiters) if (waiter.look()) this.#waiters.delete(waiter)
  }

  /** Nothing more comes. */
  end(reason: string): void {
    this.#ended = reason
    for (const waiter of this.#waiters) waiter.fail(reason)
    this.#waiters.clear()
  }

  /**
   * Waits for text and consumes all up to its end.
   *
   * @throws when it does not come, with what came instead
   */
  async waitFor(pattern: RegExp): Promise<RegExpExecArray> {
    return this.#wait(String(pattern), () => {
      const match = pattern.exec(this.#text.slice(this.#consumed))
      if (match !== null) this.#consumed += match.index + match[0].length
      return match ?? undefined
    })
  }

  /** Waits for the next `length` characters and consumes them. */
  async take(length: number): Promise<string> {
    return this.#wait(`${length} characters`, () => {
      if (this.#text.length - this.#consumed < length) return undefined
      this.#consumed += length
      return this.#text.slice(this.#consumed - length, this.#consumed)
    })
  }

  async #wait<T>(what: string, find: () => T | undefined): Promise<T> {
    let found = find()
    if (found !== undefined) return found
    return new Promise((resolve, reject) => {
      const fail = (reason: string) => {
        clearTimeout(timer)
        this.#waiters.delete(waiter)
        const rest = this.#text.slice(this.#consumed).slice(-LAST_CHARACTERS)
        reject(new Error(`${this.#name}: no ${what}: ${reason}; instead came:\n${rest}`))
      }
      const timer = setTimeout(() => fail(`not within ${TIMEOUT_MS} ms`), TIMEOUT_MS)
      const waiter = {
        look: () => {
          found = find()
          if (found === undefined) return false
          clearTimeout(timer)
          resolve(found)
          return true
        },
        fail,
      }
      if (this.#ended === undefined) this.#waiters.add(waiter)
      else fail(this.#ended)
    })
  }
}
