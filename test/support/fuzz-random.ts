/** Random numbers that a seed repeats: sfc32, which is fast and passes PractRand. */

export class Random {
  #a: number
  #b: number
  #c: number
  #counter = 1

  /** @param seed up to three numbers, of which the low 32 bits count; any difference gives another sequence */
  constructor(...seed: readonly [number, number?, number?]) {
    const [a, b = 0, c = 0] = seed
    this.#a = a | 0
    this.#b = b | 0
    this.#c = c | 0
    for (let i = 0; i < 12; i++) this.u32() // until every bit of the seed has reached every bit of the state
  }

  /** All 32 bits. */
  u32(): number {
    const sum = (this.#a + this.#b + this.#counter) | 0
    this.#counter = (this.#counter + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = (((this.#c << 21) | (this.#c >>> 11)) + sum) | 0
    return sum >>> 0
  }

  /** From 0 to `count` - 1. */
  below(count: number): number {
    return Math.floor((this.u32() / 2 ** 32) * count)
  }

  /** From `first` to `last`. */
  between(first: number, last: number): number {
    return first + this.below(last - first + 1)
  }

  /** True once in so many times. */
  once(inSoMany: number): boolean {
    return this.below(inSoMany) === 0
  }

  pick<T>(list: readonly T[]): T {
    const picked = list[this.below(list.length)]
    if (picked === undefined) throw new RangeError('nothing to pick from')
    return picked
  }

  /** Fills all of it. */
  scatter(bytes: Uint8Array): void {
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.u32()
  }
}
