/** SET_IRQS: what a client does with the device's interrupts, and the eventfds that it gives and takes for that. */
import * as vfio from '../abi/vfio.ts'
import type { Device } from '../device/device.ts'
import type { IrqIndex } from '../device/irq.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { EventFd } from '../os/eventfd.ts'
import { EPOLLET, EPOLLIN, type Reactor, type Watch } from '../os/reactor.ts'
import type { Message } from './frame.ts'

const KNOWN_FLAGS = vfio.VFIO_IRQ_SET_DATA_TYPE_MASK | vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK

/** An eventfd by which the client unmasks a vector: KVM's resample fd. */
interface Unmasker {
  readonly eventfd: EventFd
  readonly watch: Watch
}

export class ClientIrqs {
  readonly #device: Device
  readonly #reactor: Reactor
  readonly #request = vfio.VfioIrqSet.view()
  /** By irq index and vector. */
  readonly #unmaskers = new Map<string, Unmasker>()

  constructor(device: Device, reactor: Reactor) {
    this.#device = device
    this.#reactor = reactor
  }

  /** Runs one VFIO_USER_DEVICE_SET_IRQS. @throws EINVAL for whatever is wrong with it */
  set(message: Message): void {
    const { argsz, flags, index, start, count } = this.#request.aim(message.view, message.at)
    const irq = this.#device.irqs[index]
    if (argsz < vfio.VfioIrqSet.size) throw refusal(`argsz ${argsz}`)
    if (irq === undefined) throw refusal(`index ${index} of ${this.#device.irqs.length}`)
    const data = flags & vfio.VFIO_IRQ_SET_DATA_TYPE_MASK
    const action = flags & vfio.VFIO_IRQ_SET_ACTION_TYPE_MASK
    if ((flags & ~KNOWN_FLAGS) !== 0 || !isOneBit(data) || !isOneBit(action))
      throw refusal(`flags ${hex(flags)}`)
    const bytes = message.length - vfio.VfioIrqSet.size
    if (message.fds.length > 0 && data !== vfio.VFIO_IRQ_SET_DATA_EVENTFD)
      throw refusal('fds without DATA_EVENTFD')
    if (count === 0) {
      const disables =
        data === vfio.VFIO_IRQ_SET_DATA_NONE && action === vfio.VFIO_IRQ_SET_ACTION_TRIGGER
      if (!disables || start !== 0) throw refusal('count 0')
      this.#disable(irq)
      return
    }
    if (start > irq.count || count > irq.count - start)
      throw refusal(`${irq.name} vectors ${start}+${count} of ${irq.count}`)
    const masks = action !== vfio.VFIO_IRQ_SET_ACTION_TRIGGER
    if (masks && (irq.flags & vfio.VFIO_IRQ_INFO_MASKABLE) === 0)
      throw refusal(`${irq.name} cannot be masked`)
    if (data === vfio.VFIO_IRQ_SET_DATA_EVENTFD) {
      this.#setEventfds(irq, action, start, count, message)
      return
    }
    if (data === vfio.VFIO_IRQ_SET_DATA_BOOL && bytes !== count)
      throw refusal(`${bytes} bytes for ${count} vectors`)
    for (let i = 0; i < count; i++) {
      if (
        data === vfio.VFIO_IRQ_SET_DATA_BOOL &&
        message.view.getUint8(message.at + vfio.VfioIrqSet.size + i) === 0
      ) {
        continue
      }
      if (action === vfio.VFIO_IRQ_SET_ACTION_MASK) irq.mask(start + i, 1)
      else if (action === vfio.VFIO_IRQ_SET_ACTION_UNMASK) irq.unmask(start + i, 1)
      else irq.loopback(start + i, 1)
    }
  }

  /** The client has gone: closes what it gave. */
  close(): void {
    for (const irq of this.#device.irqs) this.#disable(irq)
  }

  #setEventfds(
    irq: IrqIndex,
    action: number,
    start: number,
    count: number,
    message: Message,
  ): void {
    const given = message.fds.length
    if (given !== 0 && given !== count) throw refusal(`${given} fds for ${count} vectors`)
    if (action === vfio.VFIO_IRQ_SET_ACTION_MASK) throw refusal('masking by eventfd is not offered')
    const eventfds: (EventFd | undefined)[] = []
    try {
      for (let i = 0; i < count; i++) {
        eventfds.push(given === 0 ? undefined : EventFd.adopt(message.takeFd()))
      }
    } catch (error) {
      for (const eventfd of eventfds) eventfd?.close()
      throw error
    }
    if (action === vfio.VFIO_IRQ_SET_ACTION_TRIGGER) {
      irq.assign(start, eventfds)
      return
    }
    for (const [i, eventfd] of eventfds.entries()) this.#unmaskBy(irq, start + i, eventfd)
  }

  #unmaskBy(irq: IrqIndex, vector: number, eventfd: EventFd | undefined): void {
    const key = `${irq.index}:${vector}`
    this.#forget(key)
    if (eventfd === undefined) return
    // Each signal is an edge, so the counter is never read: it is the client's, who can make any read of it hang.
    try {
      const watch = this.#reactor.watch(eventfd.fd, EPOLLIN | EPOLLET, () => irq.unmask(vector, 1))
      this.#unmaskers.set(key, { eventfd, watch })
    } catch (error) {
      eventfd.close()
      throw error
    }
  }

  #forget(key: string): void {
    const unmasker = this.#unmaskers.get(key)
    this.#unmaskers.delete(key)
    unmasker?.watch.close() // before its fd
    unmasker?.eventfd.close()
  }

  #disable(irq: IrqIndex): void {
    irq.disable()
    for (let vector = 0; vector < irq.count; vector++) this.#forget(`${irq.index}:${vector}`)
  }
}

function isOneBit(bits: number): boolean {
  return bits !== 0 && (bits & (bits - 1)) === 0
}

function refusal(message: string): ErrnoError {
  return new ErrnoError('EINVAL', `SET_IRQS: ${message}`)
}
