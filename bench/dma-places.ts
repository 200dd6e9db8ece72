/** Random places in guest memory: the same, in the same order, as bench/c/dma.c goes to. */

/** How many there are until they begin again. */
const COUNT = 65_536

export class Places {
  readonly #places = new Uint32Array(COUNT)
  #next = 0

  /** @param limit they are numbers below this */
  constructor(limit: number) {
    let random = 1
    for (let i = 0; i < COUNT; i++) {
      random = (Math.imul(random, 1_664_525) + 1_013_904_223) >>> 0
      this.#places[i] = Math.floor((random * limit) / 2 ** 32)
    }
  }

  next(): number {
    return this.#places[this.#next++ % COUNT]!
  }
}

const PAGE = 4096

/** The first bytes of pages at which something may start. */
export class PagePlaces {
  readonly #pages: Places

  /**
   * @param size   bytes of the memory
   * @param length bytes of what must fit in there
   */
  constructor(size: number, length: number) {
    this.#pages = new Places(Math.floor((size - Math.ceil(length / PAGE) * PAGE) / PAGE) + 1)
  }

  next(): number {
    return this.#pages.next() * PAGE
  }
}
