/** The maps of a container in the order of their IOVA, which never overlap, and where in the order an address is. */
import type { MapEntry } from './map-entry.ts'

export class MapTable {
  readonly #entries: MapEntry[] = []
  /** The same order, for a search that touches little memory. */
  readonly #starts: number[] = []

  get count(): number {
    return this.#entries.length
  }

  /** All maps, by IOVA. */
  get all(): readonly MapEntry[] {
    return this.#entries
  }

  /** The map that an address lies in. */
  at(iova: number): MapEntry | undefined {
    const entry = this.#entries[this.#indexAfter(iova) - 1]
    return entry !== undefined && iova < entry.end ? entry : undefined
  }

  /** The maps of which at least a part lies in a range, by IOVA. */
  overlapping(iova: number, size: number): readonly MapEntry[] {
    const first = this.at(iova) === undefined ? this.#indexAfter(iova) : this.#indexAfter(iova) - 1
    return this.#entries.slice(first, Math.max(first, this.#indexAfter(iova + size - 1)))
  }

  /** Adds a map that overlaps none. */
  add(entry: MapEntry): void {
    const at = this.#indexAfter(entry.iova)
    this.#entries.splice(at, 0, entry)
    this.#starts.splice(at, 0, entry.iova)
  }

  /** Takes maps out that are in it, in their order. */
  delete(entries: readonly MapEntry[]): void {
    // one run as a rule, but others may have been mapped in between while the first were in use
    for (let i = 0; i < entries.length;) {
      const at = this.#indexAfter(entries[i]!.iova) - 1
      let count = 0
      while (i < entries.length && this.#entries[at + count] === entries[i]) {
        count++
        i++
      }
      if (count === 0) i++ // it is gone already
      this.#entries.splice(at, count)
      this.#starts.splice(at, count)
    }
  }

  /** Index of the first map that starts after `iova`. */
  #indexAfter(iova: number): number {
    const starts = this.#starts
    let low = 0
    let high = starts.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (starts[middle]! <= iova) low = middle + 1
      else high = middle
    }
    return low
  }
}
