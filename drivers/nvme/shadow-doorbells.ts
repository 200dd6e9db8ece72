/**
 * Doorbells in guest memory (5.7): the guest stores what it would write into a register, and writes the register itself only
 * when it passes the value that the event index beside it asks for. So a guest whose queues are being looked at rings nothing.
 */
import { ErrnoError, type Dma } from 'mdevkit'

/** Something to fence with. */
const FENCE = new Int32Array(1)

/** The two pages: where the guest's values are, and where ours. */
export interface DoorbellBuffers {
  readonly shadows: number
  readonly eventIndexes: number
}

/** One doorbell's part of them. The memory is of the kind that is mapped here, or using it throws. */
export class ShadowDoorbell {
  readonly #dma: Dma
  readonly #at: number
  readonly #indexAt: number
  /** What the guest was asked for last. */
  #index: number | undefined

  /**
   * @param number of the doorbell, counted from the tail of submission queue 0
   * @throws EOPNOTSUPP the memory has to be asked for · EFAULT, EACCES
   */
  constructor(dma: Dma, { shadows, eventIndexes }: DoorbellBuffers, number: number) {
    this.#dma = dma
    this.#at = shadows + 4 * number
    this.#indexAt = eventIndexes + 4 * number
  }

  /** What the guest has stored. @throws EFAULT, EACCES · EOPNOTSUPP the memory has to be asked for, by now */
  get value(): number {
    const found = this.#dma.readU32(this.#at)
    return typeof found === 'number' ? found : refuse(found)
  }

  /** Puts there what the guest wrote to the register, as it should have done itself. */
  set value(value: number) {
    this.#write(this.#at, value)
  }

  /** Takes over from the register, where `value` was written last. */
  begin(value: number): void {
    this.value = value
    this.ask(value)
  }

  /** Has the guest ring when it goes on from `value`. What it has stored just now is to be looked for afterwards. */
  ask(value: number): void {
    if (value === this.#index) return
    this.#ask(value)
    // Ours first, then a look at theirs; the guest does it the other way round. One of both sees the other's.
    Atomics.exchange(FENCE, 0, value)
  }

  /** Has the guest, which is at `value` or later, ring as late as can be. @param size of its queue */
  hush(value: number, size: number): void {
    this.#ask(value === 0 ? size - 1 : value - 1)
  }

  #ask(value: number): void {
    this.#write(this.#indexAt, value)
    this.#index = value
  }

  #write(at: number, value: number): void {
    const under = this.#dma.writeU32(at, value)
    if (under !== undefined) refuse(under)
  }
}

/** A client has put memory of another kind where doorbells are. */
function refuse(under: Promise<unknown>): never {
  under.catch(() => {}) // whatever comes of it is of no interest
  throw new ErrnoError('EOPNOTSUPP', 'doorbells in memory that is not shared')
}
