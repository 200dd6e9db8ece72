/** Who is told of the maps of a container as they come and go. */
import { hex } from '../lib/format.ts'
import type { Logger } from '../lib/log.ts'
import type { ClientRange, MapEntry } from './map-entry.ts'

/** Whoever is told of the maps of a container: the driver, or a part that lends the memory to somebody else. */
export interface MapObserver {
  /** It is mapped from now on. */
  mapped(range: ClientRange): void
  /** It is about to go: what the observer holds of it must be let go before this returns. */
  unmapping(range: ClientRange): void
}

export class MapObservers {
  readonly #observers: MapObserver[] = []
  readonly #log: Logger

  constructor(log: Logger) {
    this.#log = log
  }

  /** @param entries the maps that there are already, which it is told of at once */
  add(observer: MapObserver, entries: readonly MapEntry[]): void {
    this.#observers.push(observer)
    for (const entry of entries) this.tell('mapped', entry, [observer])
  }

  /** What an observer throws is logged, and changes nothing. */
  tell(what: keyof MapObserver, entry: MapEntry, observers = this.#observers): void {
    for (const observer of observers) {
      try {
        observer[what](entry.clientRange)
      } catch (error) {
        this.#log.error(`dma ${what} ${hex(entry.iova)}+${hex(entry.size)}`, error)
      }
    }
  }
}
