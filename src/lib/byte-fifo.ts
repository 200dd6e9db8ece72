/** A bounded first-in, first-out queue of bytes, as serial and network hardware has them. */

export class ByteFifo {
  readonly capacity: number
  readonly #bytes: Uint8Array
  #head = 0
  #length = 0

  /** @param capacity most bytes it holds */
  constructor(capacity: number) {
    this.capacity = capacity
    this.#bytes = new Uint8Array(capacity)
  }

  /** Bytes waiting. */
  get length(): number {
    return this.#length
  }

  /** Bytes that still fit. */
  get room(): number {
    return this.capacity - this.#length
  }

  /** Adds the low 8 bits of `byte`; false, and nothing happens, when full. */
  push(byte: number): boolean {
    if (this.#length === this.capacity) return false
    this.#bytes[(this.#head + this.#length) % this.capacity] = byte
    this.#length++
    return true
  }

  /** Takes the oldest byte; 0 when empty. */
  shift(): number {
    if (this.#length === 0) return 0
    const byte = this.#bytes[this.#head] ?? 0
    this.#head = (this.#head + 1) % this.capacity
    this.#length--
    return byte
  }

  /** The oldest byte, left in place; 0 when empty. */
  peek(): number {
    return this.#length === 0 ? 0 : (this.#bytes[this.#head] ?? 0)
  }

  clear(): void {
    this.#head = 0
    this.#length = 0
  }
}
