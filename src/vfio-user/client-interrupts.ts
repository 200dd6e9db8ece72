/** Interrupts of a device as a client gets them: the vectors of one irq index. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Reactor } from '../os/reactor.ts'
import { ClientVector, type Masker, type WaitOptions } from './client-vector.ts'

/** What of a client is needed here. */
interface Requester {
  request(command: number, payload: Uint8Array, fds?: readonly number[]): Promise<Uint8Array>
}

const ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
const DISABLE = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
const MASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_MASK
const UNMASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_UNMASK

/** The vectors of one irq index, from 0 on. Made by {@link Client.interrupts}. */
export class ClientInterrupts implements Masker, AsyncDisposable {
  readonly #client: Requester
  readonly #index: number
  readonly #vectors: ClientVector[] = []
  readonly #onEnd: () => void
  #ended = false

  /**
   * @param index VFIO_PCI_*_IRQ_INDEX
   * @param onEnd called when no more will come
   */
  constructor(client: Requester, index: number, onEnd: () => void) {
    this.#client = client
    this.#index = index
    this.#onEnd = onEnd
  }

  /** Makes the vectors and gives the server their eventfds, in as many messages as it takes. */
  async connect(reactor: Reactor, count: number, maxFds: number): Promise<void> {
    for (let i = 0; i < count; i++) this.#vectors.push(new ClientVector(i, reactor, this))
    const fds = this.#vectors.map(({ fd }) => fd)
    const step = Math.max(1, maxFds)
    for (let start = 0; start < fds.length; start += step) {
      const part = fds.slice(start, start + step)
      await this.#set(ASSIGN, start, part.length, part)
    }
  }

  /** How many there are. */
  get count(): number {
    return this.#vectors.length
  }

  /** One of them. @throws RangeError there is no such vector */
  vector(index: number): ClientVector {
    const vector = this.#vectors[index]
    if (vector === undefined) throw new RangeError(`vector ${index} of ${this.#vectors.length}`)
    return vector
  }

  /** As {@link ClientVector.next}. */
  async next(vector = 0, options?: WaitOptions): Promise<void> {
    await this.vector(vector).next(options)
  }

  /** As {@link ClientVector.mask}. */
  async mask(vector = 0): Promise<void> {
    await this.#set(MASK, vector, 1, [])
  }

  /** As {@link ClientVector.unmask}. */
  async unmask(vector = 0): Promise<void> {
    await this.#set(UNMASK, vector, 1, [])
  }

  /** Takes the eventfds back from the server and closes them; iterations end. */
  async disable(): Promise<void> {
    await this.#set(DISABLE, 0, 0, [])
    this.end(new ErrnoError('ECANCELED', 'interrupts: disabled'), true)
  }

  /** {@link disable}, if they are not ended yet. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#ended) await this.disable()
  }

  /** No more will come. @param isWanted whether this end wants it so, which ends iterations without an error */
  end(error: ErrnoError, isWanted: boolean): void {
    this.#ended = true
    for (const vector of this.#vectors) vector.end(error, isWanted)
    this.#onEnd()
  }

  async #set(flags: number, start: number, count: number, fds: readonly number[]): Promise<void> {
    const request = vfio.VfioIrqSet.encode({
      argsz: vfio.VfioIrqSet.size,
      flags,
      index: this.#index,
      start,
      count,
    })
    await this.#client.request(wire.VFIO_USER_DEVICE_SET_IRQS, request, fds)
  }
}
