/** A clock for devices that goes on when the test says so. */
import type { Clock } from '../../src/device/clock.ts'

/** Time that passes when the test says so. */
export class FakeClock implements Clock {
  readonly #timers = new Map<symbol, { at: number; action: () => void }>()
  #now = 0
  /** Timers set so far. */
  started = 0

  now(): number {
    return this.#now
  }
  after(ms: number, action: () => void): () => void {
    const key = Symbol('timer')
    this.started++
    this.#timers.set(key, { at: this.#now + ms, action })
    return () => this.#timers.delete(key)
  }
  /** Timers that are running. */
  get running(): number {
    return this.#timers.size
  }
  advance(ms: number): void {
    const end = this.#now + ms
    for (;;) {
      const due = [...this.#timers].filter(([, timer]) => timer.at <= end)
      const next = due.toSorted(([, a], [, b]) => a.at - b.at)[0]
      if (next === undefined) break
      const [key, { at, action }] = next
      this.#timers.delete(key)
      this.#now = at
      action()
    }
    this.#now = end
  }
}
