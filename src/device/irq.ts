/**
 * Interrupt indexes as a client sees them: runs of vectors to which it assigns signals (eventfds).
 *
 * A device interrupts by triggering; masks and the signals are the client's. Nothing here knows sockets.
 */
import { ErrnoError } from '../lib/errno.ts'
import * as vfio from '../abi/vfio.ts'

/** What an interrupt goes out through; in real life an eventfd. */
export interface Signal {
  signal(): void
  close(): void
}

const NOTHING = new Uint8Array(0)
const NAMES = ['INTx', 'MSI', 'MSI-X', 'ERR', 'REQ'] as const

/** One irq index: `count` vectors of one kind. */
export abstract class IrqIndex {
  /** VFIO_PCI_*_IRQ_INDEX. */
  readonly index: number
  readonly name: string
  /** VFIO_IRQ_INFO_*. */
  readonly flags: number
  /** Interrupts sent to the client since creation. */
  sent = 0
  readonly #signals: (Signal | undefined)[]
  #held = false

  constructor(index: number, count: number, flags: number) {
    this.index = index
    this.name = NAMES[index] ?? `irq ${index}`
    this.flags = flags
    this.#signals = Array.from({ length: count }, () => undefined)
  }

  get count(): number {
    return this.#signals.length
  }

  /** Whether any vector has a signal. */
  get enabled(): boolean {
    return this.#signals.some((signal) => signal !== undefined)
  }

  /**
   * Gives vectors from `start` on these signals, undefined to take theirs away; the old ones are closed.
   *
   * @param signals owned here from now on, also when this throws
   * @throws EINVAL beyond the vectors of this index
   */
  assign(start: number, signals: readonly (Signal | undefined)[]): void {
    try {
      this.checkRange(start, signals.length)
    } catch (error) {
      for (const signal of signals) signal?.close()
      throw error
    }
    for (const [i, signal] of signals.entries()) {
      this.#signals[start + i]?.close()
      this.#signals[start + i] = signal
      this.assigned(start + i, signal !== undefined)
    }
  }

  /** Takes all signals away. */
  disable(): void {
    this.assign(
      0,
      this.#signals.map(() => undefined),
    )
  }

  /** @throws EINVAL the index cannot be masked, or beyond its vectors */
  mask(start: number, count: number): void {
    this.#checkMaskable(start, count)
    for (let vector = start; vector < start + count; vector++) this.setMasked(vector, true)
  }

  /** @throws as {@link mask} */
  unmask(start: number, count: number): void {
    this.#checkMaskable(start, count)
    for (let vector = start; vector < start + count; vector++) this.setMasked(vector, false)
  }

  /** The client's loopback test: sends vectors as if the device had. @throws EINVAL beyond the vectors of this index */
  loopback(start: number, count: number): void {
    this.checkRange(start, count)
    for (let vector = start; vector < start + count; vector++) this.send(vector)
  }

  /** Keeps interrupts back, as of a device that is stopped; what is due is sent when they are let go. */
  set held(held: boolean) {
    this.#held = held
    if (!held) this.released()
  }

  get held(): boolean {
    return this.#held
  }

  /** What is pending, a byte a vector, for {@link load}; nothing where the device itself knows. */
  save(): Uint8Array {
    return NOTHING
  }

  load(_pending: Uint8Array): void {}

  /** Forgets what is pending; assignments stay. */
  abstract reset(): void

  /** Interrupts are not held any more. */
  protected released(): void {}

  /** Vector `vector` has got, or lost, its signal. */
  protected abstract assigned(vector: number, present: boolean): void

  protected abstract setMasked(vector: number, masked: boolean): void

  /** Signals the client. @returns false when the vector has no signal, or interrupts are held */
  protected send(vector: number): boolean {
    const signal = this.#signals[vector]
    if (signal === undefined || this.#held) return false
    this.sent++
    signal.signal()
    return true
  }

  /** @throws EINVAL */
  protected checkRange(start: number, count: number): void {
    if (start > this.count || count > this.count - start) {
      throw new ErrnoError('EINVAL', `${this.name}: vectors ${start}+${count} of ${this.count}`)
    }
  }

  #checkMaskable(start: number, count: number): void {
    if ((this.flags & vfio.VFIO_IRQ_INFO_MASKABLE) === 0) {
      throw new ErrnoError('EINVAL', `${this.name}: cannot be masked`)
    }
    this.checkRange(start, count)
  }
}

/** An index of edges without state, or with none at all: ERR, REQ, and the kinds a device does not have. */
export class EdgeIrq extends IrqIndex {
  /** Sends `vector`, if anybody listens. */
  trigger(vector = 0): void {
    this.send(vector)
  }

  override reset(): void {}

  protected override assigned(): void {}

  protected override setMasked(): void {}
}
