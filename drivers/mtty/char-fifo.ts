/** The receiver's FIFO: characters with their error bits, as a 16550A keeps them. */

export class CharFifo {
  readonly #chars: Uint16Array
  #head = 0
  #length = 0
  #errored = 0

  /** @param capacity most characters it holds */
  constructor(capacity: number) {
    this.#chars = new Uint16Array(capacity)
  }

  get length(): number {
    return this.#length
  }

  /** How many characters in it have error bits. */
  get errored(): number {
    return this.#errored
  }

  /** Adds a character, its error bits shifted left by 8; the caller knows that there is room. */
  push(char: number): void {
    this.#chars[(this.#head + this.#length) % this.#chars.length] = char
    this.#length++
    if (char > 0xff) this.#errored++
  }

  /** The oldest character, left in place; 0 when empty. */
  peek(): number {
    return this.#length === 0 ? 0 : (this.#chars[this.#head] ?? 0)
  }

  /** Takes the oldest character; 0 when empty. */
  shift(): number {
    const char = this.peek()
    if (this.#length === 0) return char
    if (char > 0xff) this.#errored--
    this.#head = (this.#head + 1) % this.#chars.length
    this.#length--
    return char
  }

  /** The errors of the oldest character have been seen: forget them. */
  acknowledge(): void {
    const char = this.peek()
    if (char <= 0xff) return
    this.#chars[this.#head] = char & 0xff
    this.#errored--
  }

  /** Empties it. */
  clear(): void {
    this.#head = 0
    this.#length = 0
    this.#errored = 0
  }
}
