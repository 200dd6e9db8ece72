/** Memory of a client that a device may use: shared as a file, or read and written by us when the server asks. */
import * as wire from '../abi/vfio-user.ts'
import { bitmapSize } from '../iommu/dirty-log.ts'
import { ErrnoError } from '../lib/errno.ts'
import { dataViewOf } from '../lib/struct.ts'
import { Arena, type Mapping, PAGE_SIZE } from '../os/arena.ts'
import { closeFd } from '../os/fd.ts'
import { createMemfd } from '../os/memfd.ts'
import type { Message } from './frame.ts'
import { DEFAULT_CAPABILITIES } from './version.ts'

/** How memory is handed over. */
export interface MapOptions {
  /** Whether the server gets the file, and so may map it; else it has to ask. Shared unless said otherwise. */
  readonly shared?: boolean
}

/** Memory of this process that the device may use. It is freed by unmapping, not by detaching. */
export interface ClientMemory extends AsyncDisposable {
  readonly iova: number
  /** Read zeros once unmapped. */
  readonly bytes: Uint8Array
  /** Takes it away from the device, then frees it, whatever the server says. Idempotent. @throws ECONNRESET it has gone */
  unmap(): Promise<void>
  /**
   * As {@link unmap}, and tells which pages the device has written since the last report of its dirty log.
   *
   * @param pageSize bytes that one bit stands for; 4096 unless given
   * @returns a bitmap: bit n, LSB first, is page n
   * @throws EINVAL the log is off, or the memory is not shared: nothing is taken away then
   */
  unmapWithBitmap(pageSize?: number): Promise<Uint8Array>
}

/** What is sent back to a server's request. */
export interface Answer {
  /** 0, or the positive errno of a refusal. */
  readonly errno: number
  readonly payload: Uint8Array
}

/** What of a client is needed here. */
interface Requester {
  request(command: number, payload: Uint8Array, fds?: readonly number[]): Promise<Uint8Array>
  expectReply(size: number): void
}

const READ_WRITE = wire.VFIO_USER_F_DMA_REGION_READ | wire.VFIO_USER_F_DMA_REGION_WRITE
/** Most bytes that the server may ask for in one request: what we tell it in VERSION. */
const MAX_TRANSFER = DEFAULT_CAPABILITIES.max_data_xfer_size
const EINVAL = 22
const EFAULT = 14
const ENOSYS = 38

/** All memory that one client has mapped. */
export class ClientMemories {
  readonly #client: Requester
  readonly #arena = new Arena()
  /** With what takes each away here. */
  readonly #memories = new Map<ClientMemory, () => void>()
  readonly #access = wire.VfioUserDmaAccess.view()

  constructor(client: Requester) {
    this.#client = client
  }

  /** @see Client.map */
  async map(iova: number, size: number, { shared = true }: MapOptions = {}): Promise<ClientMemory> {
    const fd = createMemfd('mdevkit-client', size)
    let mapping: Mapping | undefined
    try {
      mapping = this.#arena.map(fd, 0, size, true)
      const argsz = wire.VfioUserDmaMap.size
      const request = wire.VfioUserDmaMap.encode({ argsz, flags: READ_WRITE, addr: iova, size })
      await this.#client.request(wire.VFIO_USER_DMA_MAP, request, shared ? [fd] : [])
    } catch (error) {
      mapping?.unmap()
      throw error
    } finally {
      closeFd(fd)
    }
    const forget = () => {
      this.#memories.delete(memory)
      mapping.unmap()
    }
    const memory: ClientMemory = {
      iova,
      bytes: mapping.bytes,
      unmap: async () => {
        if (!this.#memories.has(memory)) return
        const argsz = wire.VfioUserDmaUnmap.size
        const request = wire.VfioUserDmaUnmap.encode({
          argsz,
          addr: BigInt(iova),
          size: BigInt(size),
        })
        try {
          await this.#client.request(wire.VFIO_USER_DMA_UNMAP, request)
        } finally {
          forget()
        }
      },
      unmapWithBitmap: async (pageSize = PAGE_SIZE) => {
        const bitmap = await this.#unmapWithBitmap(iova, size, pageSize)
        forget()
        return bitmap
      },
      [Symbol.asyncDispose]: async () => {
        try {
          await memory.unmap()
        } catch (error) {
          if (!(error instanceof ErrnoError && error.code === 'ECONNRESET')) throw error
          // detached already, which has taken it away from the device too
        }
      },
    }
    this.#memories.set(memory, forget)
    return memory
  }

  /** The client has detached: all of it is given back, and reads zeros from now on. */
  close(): void {
    for (const forget of this.#memories.values()) forget()
  }

  /** Does what the server asks: DMA_READ and DMA_WRITE; ENOSYS for anything else, as QEMU has it. */
  answer(message: Message): Answer {
    const { command } = message
    if (command !== wire.VFIO_USER_DMA_READ && command !== wire.VFIO_USER_DMA_WRITE) {
      return { errno: ENOSYS, payload: NOTHING }
    }
    if (message.length < wire.VfioUserDmaAccess.size) return { errno: EINVAL, payload: NOTHING }
    const { addr, count } = this.#access.aim(message.view, message.at)
    if (count > MAX_TRANSFER) return { errno: EINVAL, payload: NOTHING }
    const bytes = this.#find(addr, count)
    if (bytes === undefined) return { errno: EFAULT, payload: NOTHING }
    const data = message.length - wire.VfioUserDmaAccess.size
    if (command === wire.VFIO_USER_DMA_WRITE) {
      if (data !== count) return { errno: EINVAL, payload: NOTHING }
      bytes.set(message.payload(wire.VfioUserDmaAccess.size))
      return { errno: 0, payload: wire.VfioUserDmaAccess.encode({ addr, count }) }
    }
    const payload = new Uint8Array(wire.VfioUserDmaAccess.size + count)
    const echo = wire.VfioUserDmaAccess.view().aim(dataViewOf(payload))
    echo.addr = addr
    echo.count = count
    payload.set(bytes, wire.VfioUserDmaAccess.size)
    return { errno: 0, payload }
  }

  async #unmapWithBitmap(iova: number, size: number, pgsize: number): Promise<Uint8Array> {
    const length = bitmapSize(size, pgsize)
    const prefix = wire.VfioUserDmaUnmap.size + wire.VfioUserBitmap.size
    const argsz = prefix + length
    const flags = wire.VFIO_USER_F_DMA_UNMAP_GET_DIRTY_BITMAP
    const request = Buffer.concat([
      wire.VfioUserDmaUnmap.encode({ argsz, flags, addr: BigInt(iova), size: BigInt(size) }),
      wire.VfioUserBitmap.encode({ pgsize, size: length }),
    ])
    this.#client.expectReply(argsz)
    const reply = await this.#client.request(wire.VFIO_USER_DMA_UNMAP, request)
    if (reply.length !== argsz)
      throw new ErrnoError('EPROTO', `DMA_UNMAP: reply of ${reply.length} bytes, not ${argsz}`)
    return reply.subarray(prefix)
  }

  #find(iova: number, count: number): Uint8Array | undefined {
    for (const memory of this.#memories.keys()) {
      const offset = iova - memory.iova
      if (offset >= 0 && offset + count <= memory.bytes.length) {
        return memory.bytes.subarray(offset, offset + count)
      }
    }
    return undefined
  }
}

const NOTHING = new Uint8Array(0)
