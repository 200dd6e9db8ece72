/** Numbers from 0 on, each the smallest that is free, as the kernel gives them. */
export class Indices {
  readonly #taken = new Set<number>()
  /** None below it is free. */
  #from = 0

  take(): number {
    while (this.#taken.has(this.#from)) this.#from++
    this.#taken.add(this.#from)
    return this.#from
  }

  giveBack(index: number): void {
    this.#taken.delete(index)
    this.#from = Math.min(this.#from, index)
  }
}
