/** Interrupts of a device as a client gets them: one eventfd a vector, waited for by the reactor. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import { EventFd } from '../os/eventfd.ts'
import { EPOLLIN, type Reactor, type Watch } from '../os/reactor.ts'

/** What of a client is needed here. */
interface Requester {
  request(command: number, payload: Uint8Array, fds?: readonly number[]): Promise<Uint8Array>
}

interface Vector {
  readonly eventfd: EventFd
  readonly watch: Watch
  /** Interrupts that nobody has waited for yet. */
  count: number
  readonly waiting: { resolve: () => void; reject: (error: Error) => void }[]
}

const ASSIGN = vfio.VFIO_IRQ_SET_DATA_EVENTFD | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
const DISABLE = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_TRIGGER
const UNMASK = vfio.VFIO_IRQ_SET_DATA_NONE | vfio.VFIO_IRQ_SET_ACTION_UNMASK

/** The vectors of one irq index. Made by {@link Client.interrupts}. */
export class ClientInterrupts {
  readonly #client: Requester
  readonly #index: number
  readonly #vectors: readonly Vector[]
  #ended: Error | undefined

  constructor(client: Requester, reactor: Reactor, index: number, count: number) {
    this.#client = client
    this.#index = index
    this.#vectors = Array.from({ length: count }, () => {
      const eventfd = EventFd.create()
      const vector: Vector = {
        eventfd,
        watch: reactor.watch(eventfd.fd, EPOLLIN, () => arrived(vector)),
        count: 0,
        waiting: [],
      }
      return vector
    })
  }

  /** Gives the server the eventfds, in as many messages as it takes. */
  async connect(maxFds: number): Promise<void> {
    const fds = this.#vectors.map(({ eventfd }) => eventfd.fd)
    const step = Math.max(1, maxFds)
    for (let start = 0; start < fds.length; start += step) {
      const part = fds.slice(start, start + step)
      await this.#set(ASSIGN, start, part.length, part)
    }
  }

  /** Waits for the next interrupt of a vector; one that came before and nobody waited for counts. @throws ECONNRESET */
  async next(vector = 0): Promise<void> {
    const state = this.#vectors[vector]
    if (state === undefined) throw new RangeError(`vector ${vector} of ${this.#vectors.length}`)
    if (state.count > 0) {
      state.count--
      return
    }
    if (this.#ended !== undefined) throw this.#ended
    await new Promise<void>((resolve, reject) => state.waiting.push({ resolve, reject }))
  }

  /** Unmasks a level-triggered interrupt, which masks itself when it comes. */
  async unmask(vector = 0): Promise<void> {
    await this.#set(UNMASK, vector, 1, [])
  }

  /** Takes the eventfds back from the server and closes them. */
  async disable(): Promise<void> {
    await this.#set(DISABLE, 0, 0, [])
    this.close(new Error('interrupts: disabled'))
  }

  /** The connection has ended. */
  close(error: Error): void {
    this.#ended ??= error
    for (const { watch, eventfd, waiting } of this.#vectors) {
      watch.close()
      eventfd.close()
      for (const { reject } of waiting.splice(0)) reject(error)
    }
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

function arrived(vector: Vector): void {
  if (!vector.eventfd.drain()) return
  const waiter = vector.waiting.shift()
  if (waiter === undefined) vector.count++
  else waiter.resolve()
}
