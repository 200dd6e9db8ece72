/**
 * DEVICE_GET_REGION_IO_FDS: the doorbells of a region as eventfds, each with a place in shared memory for the value rung.
 *
 * The client stores the value, then signals. Rings that come faster than we look are one; so the last value always gets
 * through, one before it may not, and a value that was seen early comes again.
 */
import * as wire from '../abi/vfio-user.ts'
import type { Device } from '../device/device.ts'
import type { Doorbell } from '../device/doorbell.ts'
import type { DeviceRegion } from '../device/region.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { Logger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { Arena, type Mapping, PAGE_SIZE } from '../os/arena.ts'
import { EventFd } from '../os/eventfd.ts'
import { closeFd } from '../os/fd.ts'
import { createMemfd } from '../os/memfd.ts'
import { EPOLLET, EPOLLIN, type Reactor, type Watch } from '../os/reactor.ts'
import type { Message } from './frame.ts'
import type { ServedClient } from './served-client.ts'

const FIXED = wire.VfioUserRegionIoFds.size
const ENTRY = wire.VfioUserSubRegionIoeventfd.size
const MAX_ARGSZ = 1024 * 1024
/** Bytes of shared memory for one doorbell: the widest value that the protocol knows. */
const SLOT = 8

/** The doorbells of one region, given to one client. */
interface Given {
  readonly eventfds: readonly EventFd[]
  readonly watches: readonly Watch[]
  readonly shadow: number
  readonly mapping: Mapping
}

/** What one client has been given to ring with. */
export class ClientIoFds {
  readonly #device: Device
  readonly #reactor: Reactor
  readonly #log: Logger
  readonly #arena = new Arena()
  readonly #given = new Map<DeviceRegion, Given>()
  readonly #fixed = wire.VfioUserRegionIoFds.view()

  constructor(device: Device, reactor: Reactor, log: Logger) {
    this.#device = device
    this.#reactor = reactor
    this.#log = log
  }

  /** Answers one request. @throws EINVAL for whatever is wrong with it · EMFILE, ENOMEM, ENOSPC */
  answer(client: ServedClient, request: Message): number {
    const { argsz, flags, index, count } = this.#fixed.aim(request.view, request.at)
    if (argsz < FIXED || argsz > MAX_ARGSZ) throw refusal(`argsz ${argsz}`)
    if (flags !== 0 || count !== 0) throw refusal(`flags ${flags}, count ${count}`)
    const region = this.#device.regions[index]
    if (region === undefined || region.size === 0 || region.flags === 0)
      throw refusal(`region ${index}: not there`)
    const doorbells = offered(region.doorbells, client.capabilities?.max_msg_fds ?? 0)
    const size = FIXED + ENTRY * doorbells.length
    const fits = size <= argsz
    const entries = fits && doorbells.length > 0 ? this.#give(client, region, doorbells) : undefined
    client.reserveReply(size)
    const reply = this.#fixed.aim(client.reply, client.replyAt)
    reply.argsz = size
    reply.flags = 0
    reply.index = index
    reply.count = doorbells.length
    if (entries !== undefined) client.replyBytes.set(entries, client.replyAt + FIXED)
    return fits ? size : FIXED
  }

  /** The client has gone. */
  close(): void {
    for (const given of this.#given.values()) release(given)
    this.#given.clear()
  }

  /** Attaches the fds to the reply. @returns the entries that go with them */
  #give(client: ServedClient, region: DeviceRegion, doorbells: readonly Doorbell[]): Uint8Array {
    let given = this.#given.get(region)
    if (given === undefined) {
      given = this.#create(region, doorbells)
      this.#given.set(region, given)
    }
    client.attachFds([...given.eventfds.map(({ fd }) => fd), given.shadow])
    return Buffer.concat(
      doorbells.map(({ offset, width, isPort }, i) =>
        wire.VfioUserSubRegionIoeventfd.encode({
          offset,
          size: width,
          fd_index: i,
          type: wire.VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW,
          flags: isPort ? wire.KVM_IOEVENTFD_FLAG_PIO : 0,
          shadow_mem_fd_index: doorbells.length, // one for all: the last
          shadow_offset: SLOT * i,
        }),
      ),
    )
  }

  #create(region: DeviceRegion, doorbells: readonly Doorbell[]): Given {
    using undo = new Unwind()
    const size = Math.ceil((SLOT * doorbells.length) / PAGE_SIZE) * PAGE_SIZE
    const shadow = createMemfd('mdevkit-doorbells', size)
    undo.defer(() => closeFd(shadow))
    const mapping = this.#arena.map(shadow, 0, size, true)
    undo.defer(() => mapping.unmap())
    const values = new DataView(mapping.bytes.buffer, mapping.bytes.byteOffset, size)
    const eventfds: EventFd[] = []
    const watches: Watch[] = []
    for (const [i, doorbell] of doorbells.entries()) {
      const eventfd = EventFd.create()
      undo.defer(() => eventfd.close())
      // Each signal is an edge, so the counter is never read.
      const watch = this.#reactor.watch(eventfd.fd, EPOLLIN | EPOLLET, () =>
        this.#ring(region, doorbell, values, SLOT * i),
      )
      undo.defer(() => watch.close())
      eventfds.push(eventfd)
      watches.push(watch)
    }
    undo.keep()
    return { eventfds, watches, shadow, mapping }
  }

  #ring(region: DeviceRegion, doorbell: Doorbell, values: DataView, at: number): void {
    try {
      if (doorbell.width === 4) doorbell.ring(values.getUint32(at, true))
      else if (doorbell.width === 2) doorbell.ring(values.getUint16(at, true))
      else doorbell.ring(values.getUint8(at))
    } catch (error) {
      // There is no reply to say it in, as with a posted write.
      this.#log.error(`${region.name}: doorbell at ${hex(doorbell.offset)}`, error)
    }
  }
}

/** Those that fit into one message with the file of their values; the rest ring by message. */
function offered(doorbells: readonly Doorbell[], maxFds: number): readonly Doorbell[] {
  return doorbells.slice(0, Math.max(0, Math.min(maxFds, MAX_FDS) - 1))
}

/** What anybody can receive in one message: SCM_MAX_FD of Linux. */
const MAX_FDS = 253

function release({ watches, eventfds, shadow, mapping }: Given): void {
  for (const watch of watches) watch.close() // before their fds
  for (const eventfd of eventfds) eventfd.close()
  mapping.unmap()
  closeFd(shadow)
}

function refusal(message: string): ErrnoError {
  return new ErrnoError('EINVAL', `DEVICE_GET_REGION_IO_FDS: ${message}`)
}
