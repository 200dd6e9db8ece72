/** Doorbells as a client rings them: by eventfd where the server gave one, its value in shared memory; else by message. */
import * as wire from '../abi/vfio-user.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import type { Unwind } from '../lib/unwind.ts'
import { closeFds } from '../os/fd.ts'
import { type Arena, type Mapping, PAGE_SIZE } from '../os/arena.ts'
import { EventFd } from '../os/eventfd.ts'
import { broken, mapFile } from './client-files.ts'

/** What of a client is needed here. */
export interface Poster {
  post(region: number, offset: number, bytes: Uint8Array): void
}

/** What the server gave for one place. */
export interface EventfdDoorbell {
  readonly offset: number
  /** Bytes; 0 for any. */
  readonly width: number
  readonly eventfd: EventFd
  /** Rings with this value only. */
  readonly datamatch: bigint | undefined
  /** Where the value goes; without it the server learns of the ring alone. */
  readonly shadow: DataView | undefined
}

/** The doorbells of one region. Made by {@link Client.doorbells}. */
export class ClientDoorbells {
  readonly #client: Poster
  readonly #region: number
  readonly #doorbells: readonly EventfdDoorbell[]
  readonly #close: () => void

  /**
   * @param doorbells emptied when they are closed
   * @param close     does that
   */
  constructor(
    client: Poster,
    region: number,
    doorbells: readonly EventfdDoorbell[],
    close: () => void,
  ) {
    this.#client = client
    this.#region = region
    this.#doorbells = doorbells
    this.#close = close
  }

  /** Those that ring without a message. */
  get byEventfd(): readonly { readonly offset: number; readonly width: number }[] {
    return this.#doorbells
  }

  /**
   * Writes `value` to the doorbell at `offset`; does not wait for the device. Rings by eventfd may be seen later than messages
   * that are sent after them, and several of them as one.
   *
   * @throws ECONNRESET detached
   */
  ring(offset: number, value: number, width: 1 | 2 | 4 = 4): void {
    const doorbell = this.#find(offset, value, width)
    if (doorbell === undefined) {
      const bytes = Buffer.alloc(width)
      bytes.writeUIntLE(value, 0, width)
      this.#client.post(this.#region, offset, bytes)
      return
    }
    const { shadow, eventfd } = doorbell
    if (width === 4) shadow?.setUint32(0, value, true)
    else if (width === 2) shadow?.setUint16(0, value, true)
    else shadow?.setUint8(0, value)
    eventfd.signal() // after the value, which the server then reads
  }

  /** Rings go by message from now on. Idempotent; detaching does it too. */
  close(): void {
    this.#close()
  }

  #find(offset: number, value: number, width: number): EventfdDoorbell | undefined {
    return this.#doorbells.find(
      (each) =>
        each.offset === offset &&
        (each.width === width || each.width === 0) &&
        (each.datamatch === undefined || each.datamatch === BigInt(value)),
    )
  }
}

const FIXED = wire.VfioUserRegionIoFds.size
const ENTRY = wire.VfioUserSubRegionIoeventfd.size
const { datamatch: MATCH, shadow_offset: SHORT_MATCH } = wire.VfioUserSubRegionIoeventfd.offsets
/** By the text of the protocol, which knows no shadow: `datamatch` is where that has its offset. */
const SHORT_ENTRY = 40
/** The widest value that a shadow may have. */
const MAX_VALUE = 8

/**
 * Opens what the answer to DEVICE_GET_REGION_IO_FDS gives.
 *
 * @param fds    owned from here on
 * @param opened gets the steps that undo it
 * @throws EPROTO the answer makes no sense · EINVAL an fd that is no eventfd · what mapping may say
 */
export function openDoorbells(
  arena: Arena,
  index: number,
  payload: Uint8Array,
  fds: readonly number[],
  opened: Unwind,
): readonly EventfdDoorbell[] {
  const left = new Map(fds.entries()) // those that no eventfd owns
  const eventfds = new Map<number, EventFd>()
  const pages = new Map<string, Mapping>()
  const take = (fdIndex: number, what: string): number => {
    const fd = left.get(fdIndex)
    if (fd === undefined) throw broken(`${what}: fd ${fdIndex} of ${fds.length}`)
    return fd
  }
  const eventfdOf = (fdIndex: number, what: string): EventFd => {
    const known = eventfds.get(fdIndex)
    if (known !== undefined) return known
    const fd = take(fdIndex, what)
    left.delete(fdIndex)
    const eventfd = EventFd.adopt(fd)
    eventfds.set(fdIndex, eventfd)
    opened.defer(() => eventfd.close())
    return eventfd
  }
  const shadowAt = (fdIndex: number, offset: number, size: number, what: string): DataView => {
    const at = offset % PAGE_SIZE
    if (at + size > PAGE_SIZE) throw broken(`${what}: its value at ${hex(offset)}`)
    const key = `${fdIndex} ${offset - at}`
    let page = pages.get(key)
    if (page === undefined) {
      const mapping = mapFile(arena, what, take(fdIndex, what), offset - at, at + size, true)
      opened.defer(() => mapping.unmap())
      pages.set(key, (page = mapping))
    }
    return dataViewOf(page.bytes.subarray(at, at + size))
  }
  try {
    const doorbells = entriesOf(index, payload).flatMap(({ data, isShort }) => {
      const entry = wire.VfioUserSubRegionIoeventfd.view().aim(data)
      const { offset, size, type, fd_index, flags } = entry
      const what = `region ${index}: doorbell at ${hex(offset)}`
      const isShadow = type === wire.VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW
      if (type !== wire.VFIO_USER_IO_FD_TYPE_IOEVENTFD && !isShadow) return [] // rung by message
      if (size > MAX_VALUE || (isShadow && isShort)) throw broken(`${what}: ${size} bytes wide`)
      const matches = (flags & wire.KVM_IOEVENTFD_FLAG_DATAMATCH) !== 0
      return [
        {
          offset,
          width: size,
          eventfd: eventfdOf(fd_index, what),
          datamatch: matches ? data.getBigUint64(isShort ? SHORT_MATCH : MATCH, true) : undefined,
          shadow: isShadow
            ? shadowAt(entry.shadow_mem_fd_index, entry.shadow_offset, size || MAX_VALUE, what)
            : undefined,
        },
      ]
    })
    opened.defer(() => void (doorbells.length = 0)) // first of all: nothing rings what is gone
    return doorbells
  } finally {
    closeFds(left.values())
  }
}

interface FoundEntry {
  readonly data: DataView
  readonly isShort: boolean
}

/** @throws EPROTO entries that do not add up */
function entriesOf(index: number, payload: Uint8Array): readonly FoundEntry[] {
  const { count } = wire.VfioUserRegionIoFds.view().aim(dataViewOf(payload))
  if (count === 0) return []
  const stride = (payload.length - FIXED) / count
  if (stride !== ENTRY && stride !== SHORT_ENTRY)
    throw broken(`region ${index}: ${count} doorbells in ${payload.length} bytes`)
  return Array.from({ length: count }, (_, i) => {
    const bytes = new Uint8Array(ENTRY)
    bytes.set(payload.subarray(FIXED + i * stride, FIXED + (i + 1) * stride))
    return { data: dataViewOf(bytes), isShort: stride === SHORT_ENTRY }
  })
}
