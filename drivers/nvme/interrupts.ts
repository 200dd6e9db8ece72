/** Interrupts: which vectors are due, as one message for many completions; and the pin, for guests without MSI-X. */
import type { Clock, IntxLine, IrqVector } from 'mdevkit'

/** Aggregation Time counts in these. */
const COALESCING_UNIT_MS = 0.1

/** Interrupt Coalescing (5.21.1.8), as the guest set it. */
export interface Coalescing {
  /** Completions that make an interrupt due. */
  readonly count: number
  /** Most that one waits, in units of 100 us; 0 is not at all. */
  readonly time: number
}

export class Interrupts {
  readonly #vectors: readonly IrqVector[]
  readonly #line: IntxLine
  readonly #clock: Clock
  /** By vector: completions that were not told of. */
  readonly #untold: Uint32Array
  /** By vector: completions that the guest has not taken. */
  readonly #unread: Int32Array
  /** By vector: whether it waits for no others. */
  readonly #immediate: Uint8Array
  /** Vectors with something new. */
  readonly #due: number[] = []
  /** What calls the timers off, by vector. */
  readonly #timers = new Map<number, () => void>()
  #coalescing: Coalescing = { count: 1, time: 0 }
  #mask = 0

  constructor(vectors: readonly IrqVector[], line: IntxLine, clock: Clock) {
    this.#vectors = vectors
    this.#line = line
    this.#clock = clock
    this.#untold = new Uint32Array(vectors.length)
    this.#unread = new Int32Array(vectors.length)
    this.#immediate = new Uint8Array(vectors.length)
  }

  /** How many vectors there are. */
  get count(): number {
    return this.#vectors.length
  }

  /** Whether the guest uses the pin, which it can only let go of by writing doorbells. */
  get usesPin(): boolean {
    return this.#line.connected
  }

  set coalescing(coalescing: Coalescing) {
    this.#coalescing = coalescing
  }

  /** Interrupt Vector Configuration: whether `vector` waits for no others. */
  setImmediate(vector: number, immediate: boolean): void {
    this.#immediate[vector] = immediate ? 1 : 0
  }

  isImmediate(vector: number): boolean {
    return this.#immediate[vector] === 1
  }

  /** INTMS and INTMC: of the pin. With MSI-X the guest masks elsewhere. */
  get mask(): number {
    return this.#mask
  }

  set mask(mask: number) {
    this.#mask = mask
    this.#setLine()
  }

  /** A completion is there; {@link flush} tells. @param urgent it waits for no others */
  posted(vector: number, urgent: boolean): void {
    this.#unread[vector]!++
    if (urgent) this.#untold[vector] = this.#coalescing.count
    else this.#untold[vector]!++
    if (!this.#due.includes(vector)) this.#due.push(vector)
  }

  /** The guest has taken some. */
  taken(vector: number, count: number): void {
    this.#unread[vector]! -= count
    this.#setLine()
  }

  /** Sends what is due. */
  flush(): void {
    if (this.#due.length === 0) return
    for (const vector of this.#due) this.#tell(vector)
    this.#due.length = 0
    this.#setLine()
  }

  /** Nothing is due any more, and nothing set. */
  reset(): void {
    for (const callOff of this.#timers.values()) callOff()
    this.#timers.clear()
    this.#due.length = 0
    this.#untold.fill(0)
    this.#unread.fill(0)
    this.#immediate.fill(0)
    this.#coalescing = { count: 1, time: 0 }
    this.#mask = 0
    this.#line.set(false)
  }

  #tell(vector: number): void {
    const { count, time } = this.#coalescing
    if (time === 0 || this.#immediate[vector] === 1 || this.#untold[vector]! >= count) {
      this.#trigger(vector)
    } else if (!this.#timers.has(vector)) {
      const callOff = this.#clock.after(time * COALESCING_UNIT_MS, () => this.#trigger(vector))
      this.#timers.set(vector, callOff)
    }
  }

  #trigger(vector: number): void {
    this.#timers.get(vector)?.()
    this.#timers.delete(vector)
    this.#untold[vector] = 0
    this.#vectors[vector]?.trigger()
  }

  #setLine(): void {
    this.#line.set(this.#unread.some((count, vector) => count > 0 && !this.#isMasked(vector)))
  }

  #isMasked(vector: number): boolean {
    return vector < 32 && (this.#mask & (1 << vector)) !== 0
  }
}
