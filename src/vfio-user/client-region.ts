/** One region of a device as a client uses it: registers of 1 to 8 bytes, little-endian, and runs of bytes. */
import { ErrnoError } from '../lib/errno.ts'
import type { ClientDoorbells } from './client-doorbells.ts'
import type { MappedRegion, RegionInfo } from './client-regions.ts'

/** What of a client is needed here. */
interface Accessor {
  readonly maxTransfer: number
  regionInfo(region: number): Promise<RegionInfo>
  mapRegion(region: number): Promise<MappedRegion>
  doorbells(region: number): Promise<ClientDoorbells>
  read(region: number, offset: number, count: number): Promise<Uint8Array>
  write(region: number, offset: number, bytes: Uint8Array): Promise<void>
  post(region: number, offset: number, bytes: Uint8Array): void
}

/** Largest region that is read as a whole. */
const MAX_WHOLE = 256 * 2 ** 20

/**
 * A region, of {@link Client.region}.
 *
 * Of every access there are three kinds. `read…` resolves to what the device says. `write…` resolves when the device has
 * taken the value, and rejects when it refuses. `post…` waits for nothing and hears of no refusal; what is read later finds
 * it written. Offsets are bytes. All throw EINVAL out of bounds, ECONNRESET when the connection has ended, and what the
 * device says; a value that does not fit is a RangeError.
 */
export class ClientRegion {
  /** VFIO_PCI_*_REGION_INDEX. */
  readonly index: number
  readonly #client: Accessor

  constructor(client: Accessor, index: number) {
    this.#client = client
    this.index = index
  }

  /** What it is. @throws EPROTO the server contradicts itself */
  async info(): Promise<RegionInfo> {
    return this.#client.regionInfo(this.index)
  }

  /** As {@link Client.mapRegion}. */
  async map(): Promise<MappedRegion> {
    return this.#client.mapRegion(this.index)
  }

  /** As {@link Client.doorbells}. */
  async doorbells(): Promise<ClientDoorbells> {
    return this.#client.doorbells(this.index)
  }

  async read(offset: number, count: number): Promise<Uint8Array> {
    return this.#client.read(this.index, offset, count)
  }

  async write(offset: number, bytes: Uint8Array): Promise<void> {
    await this.#client.write(this.index, offset, bytes)
  }

  post(offset: number, bytes: Uint8Array): void {
    this.#client.post(this.index, offset, bytes)
  }

  /** All of it. Reading registers may change them. @throws EFBIG more than 256 MiB */
  async readAll(): Promise<Uint8Array> {
    const { size } = await this.info()
    if (size > MAX_WHOLE)
      throw new ErrnoError(
        'EFBIG',
        `region ${this.index}: ${size} bytes, ${MAX_WHOLE} are the most`,
      )
    const all = new Uint8Array(size)
    const step = this.#client.maxTransfer
    for (let at = 0; at < size; at += step)
      all.set(await this.read(at, Math.min(step, size - at)), at)
    return all
  }

  async readU8(offset: number): Promise<number> {
    return (await this.#register(offset, 1)).readUInt8()
  }

  async readU16(offset: number): Promise<number> {
    return (await this.#register(offset, 2)).readUInt16LE()
  }

  async readU32(offset: number): Promise<number> {
    return (await this.#register(offset, 4)).readUInt32LE()
  }

  async readU64(offset: number): Promise<bigint> {
    return (await this.#register(offset, 8)).readBigUInt64LE()
  }

  async writeU8(offset: number, value: number): Promise<void> {
    await this.write(offset, u8(value))
  }

  async writeU16(offset: number, value: number): Promise<void> {
    await this.write(offset, u16(value))
  }

  async writeU32(offset: number, value: number): Promise<void> {
    await this.write(offset, u32(value))
  }

  async writeU64(offset: number, value: bigint): Promise<void> {
    await this.write(offset, u64(value))
  }

  postU8(offset: number, value: number): void {
    this.post(offset, u8(value))
  }

  postU16(offset: number, value: number): void {
    this.post(offset, u16(value))
  }

  postU32(offset: number, value: number): void {
    this.post(offset, u32(value))
  }

  postU64(offset: number, value: bigint): void {
    this.post(offset, u64(value))
  }

  async #register(offset: number, width: number): Promise<Buffer> {
    return Buffer.from(await this.read(offset, width))
  }
}

function u8(value: number): Uint8Array {
  const bytes = Buffer.alloc(1)
  bytes.writeUInt8(value)
  return bytes
}

function u16(value: number): Uint8Array {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16LE(value)
  return bytes
}

function u32(value: number): Uint8Array {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32LE(value)
  return bytes
}

function u64(value: bigint): Uint8Array {
  const bytes = Buffer.alloc(8)
  bytes.writeBigUInt64LE(value)
  return bytes
}
