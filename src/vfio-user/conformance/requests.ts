/** Requests as bytes, right or wrong: every field is what the caller says, and what it leaves out is right. */
import * as wire from '../../abi/vfio-user.ts'
import * as vfio from '../../abi/vfio.ts'

export function u16(...values: readonly number[]): Buffer {
  return Buffer.from(Uint16Array.from(values).buffer)
}

export function u32(...values: readonly number[]): Buffer {
  return Buffer.from(Uint32Array.from(values).buffer)
}

/** Beyond 2^53 too, so no `struct()`. */
export function u64(...values: readonly (number | bigint)[]): Buffer {
  return Buffer.from(BigUint64Array.from(values, BigInt).buffer)
}

export interface Header {
  readonly id?: number
  readonly flags?: number
  /** What the header says, if that is not the truth. */
  readonly size?: number
  readonly error?: number
}

export const NO_PAYLOAD: Uint8Array = new Uint8Array(0)

export function message(
  command: number,
  payload: Uint8Array = NO_PAYLOAD,
  { id = 0, flags = 0, size = wire.VfioUserHeader.size + payload.length, error = 0 }: Header = {},
): Buffer {
  return Buffer.concat([u16(id, command), u32(size, flags, error), payload])
}

/** VERSION: 0.`minor`, and what follows, with its NUL unless there is nothing. */
export function version(json?: string, { major = 0, minor = 0 } = {}): Buffer {
  return Buffer.concat([u16(major, minor), Buffer.from(json === undefined ? '' : `${json}\0`)])
}

/** What clients say in VERSION (§5.1). */
export const PROPOSALS = {
  qemu: version(
    '{"capabilities": {"pgsizes": 4096, "max_msg_fds": 16, "max_dma_maps": 65535, "max_data_xfer_size": 1048576, "migration": {"max_bitmap_size": 268435456, "pgsize": 4096}, "write_multiple": true}}',
  ),
  'Cloud Hypervisor': version(
    '{"capabilities":{"max_msg_fds":1,"max_data_xfer_size":1048576,"migration":{"pgsize":4096}}}',
    { minor: 1 },
  ),
  SPDK: version(undefined, { minor: 1 }),
  'libvfio-user': version(
    '{ "capabilities": { "max_msg_fds": 8, "max_data_xfer_size": 1048576, "migration": { "pgsize": 4096 } } }',
    { minor: 2 },
  ),
} as const satisfies Record<string, Buffer>

export function deviceInfo(argsz = 16): Buffer {
  return u32(argsz, 0, 0, 0)
}

export function regionInfo(index: number, argsz = 32): Buffer {
  return Buffer.concat([u32(argsz, 0, index, 0), u64(0, 0)])
}

export function ioFds(index: number, { argsz = 16, flags = 0, count = 0 } = {}): Buffer {
  return u32(argsz, flags, index, count)
}

export function irqInfo(index: number, argsz = 16): Buffer {
  return u32(argsz, 0, index, 0)
}

export interface IrqFields {
  readonly argsz?: number
  readonly flags: number
  readonly index: number
  readonly start?: number
  readonly count?: number
  /** With BOOL. */
  readonly data?: readonly number[]
}

export function irqSet(fields: IrqFields): Buffer {
  const { flags, index, start = 0, count = 0, data = [] } = fields
  const { argsz = vfio.VfioIrqSet.size + data.length } = fields
  return Buffer.concat([u32(argsz, flags, index, start, count), Buffer.from(data)])
}

/** REGION_READ; with data, REGION_WRITE. */
export function access(
  region: number,
  offset: number | bigint,
  count: number,
  data: Uint8Array = NO_PAYLOAD,
): Buffer {
  return Buffer.concat([u64(offset), u32(region, count), data])
}

export interface WriteEntry {
  readonly region: number
  readonly offset: number | bigint
  readonly count: number
  readonly value: number | bigint
}

/** REGION_WRITE_MULTI. @param announced how many entries the message says to have */
export function writeMulti(entries: readonly WriteEntry[], announced = entries.length): Buffer {
  return Buffer.concat([
    u64(announced),
    ...entries.map(({ region, offset, count, value }) =>
      Buffer.concat([u64(offset), u32(region, count), u64(value)]),
    ),
  ])
}

export interface DmaFields {
  readonly argsz?: number
  readonly flags?: number
  /** In the file. */
  readonly offset?: number | bigint
  readonly iova?: number | bigint
  readonly size?: number | bigint
}

/** A page at 1 MiB, to be read and written, unless told otherwise. */
export function dmaMap(fields: DmaFields = {}): Buffer {
  const { argsz = 32, flags = 3, offset = 0, iova = IOVA, size = PAGE } = fields
  return Buffer.concat([u32(argsz, flags), u64(offset, iova, size)])
}

/** The same page. */
export function dmaUnmap(fields: DmaFields = {}): Buffer {
  const { argsz = 24, flags = 0, iova = IOVA, size = PAGE } = fields
  return Buffer.concat([u32(argsz, flags), u64(iova, size)])
}

export const IOVA = 0x10_0000
export const PAGE = 4096

/** DEVICE_FEATURE. @param flags the feature's number and what to do with it */
export function feature(
  flags: number,
  data: Uint8Array = NO_PAYLOAD,
  argsz = vfio.VfioDeviceFeature.size + data.length,
): Buffer {
  return Buffer.concat([u32(argsz, flags), data])
}
