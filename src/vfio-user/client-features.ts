/** Features of a device as a client uses them: its migration, and the log of the pages that it writes. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import { MAX_STREAM, type MigrationState } from '../device/migration.ts'
import { bitmapSize, type IovaRange } from '../iommu/dirty-log.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { dataViewOf } from '../lib/struct.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { STATE_NUMBERS, STATES } from './migration.ts'
import { type Capabilities, DEFAULT_CAPABILITIES } from './version.ts'

/** What of a client is needed here. */
interface Requester {
  readonly capabilities: Capabilities
  request(command: number, payload: Uint8Array): Promise<Uint8Array>
  expectReply(size: number): void
}

/** What is done with a feature. */
export type FeatureAction = 'get' | 'set'

export interface FeatureOptions {
  /** Data of the request. */
  readonly data?: Uint8Array
  /** Most bytes of data that the answer to a 'get' may have; 8 unless given. */
  readonly room?: number
}

const FLAGS = {
  get: vfio.VFIO_DEVICE_FEATURE_GET,
  set: vfio.VFIO_DEVICE_FEATURE_SET,
} as const satisfies Record<FeatureAction, number>

const FIXED = vfio.VfioDeviceFeature.size
const NOTHING = new Uint8Array(0)

/** VFIO_USER_DEVICE_FEATURE. */
export class ClientFeatures {
  readonly #client: Requester

  constructor(client: Requester) {
    this.#client = client
  }

  /**
   * Gets or sets a feature.
   *
   * @param feature VFIO_DEVICE_FEATURE_*
   * @returns data of the answer
   * @throws EOPNOTSUPP the server has not said that its device migrates · EPROTO the answer is not one · what it refuses with
   */
  async run(
    feature: number,
    action: FeatureAction,
    { data = NOTHING, room = 8 }: FeatureOptions = {},
  ): Promise<Uint8Array> {
    this.#mustBeOffered()
    const argsz = FIXED + Math.max(data.length, action === 'get' ? room : 0)
    const reply = await this.#send(argsz, feature | FLAGS[action], data)
    if (reply.length > argsz)
      throw broken(`feature ${feature}: ${reply.length} bytes, ${argsz} are the most`)
    return reply.subarray(FIXED)
  }

  /** Whether the device has a feature, and `action` can be done with it. */
  async probe(feature: number, action: FeatureAction): Promise<boolean> {
    if (this.#client.capabilities.migration === undefined) return false
    const flags = vfio.VFIO_DEVICE_FEATURE_PROBE | FLAGS[action] | feature
    try {
      await this.#send(FIXED, flags, NOTHING)
      return true
    } catch (error) {
      if (error instanceof ErrnoError && NOT_THERE.has(error.code)) return false
      throw error
    }
  }

  async #send(argsz: number, flags: number, data: Uint8Array): Promise<Uint8Array> {
    this.#client.expectReply(argsz)
    const request = Buffer.concat([vfio.VfioDeviceFeature.encode({ argsz, flags }), data])
    const reply = await this.#client.request(wire.VFIO_USER_DEVICE_FEATURE, request)
    if (reply.length < FIXED) throw broken(`DEVICE_FEATURE ${hex(flags)}: ${reply.length} bytes`)
    return reply
  }

  /** What was not announced is not used. */
  #mustBeOffered(): void {
    if (this.#client.capabilities.migration === undefined)
      throw new ErrnoError('EOPNOTSUPP', 'migration: the server does not offer it')
  }
}

const NOT_THERE: ReadonlySet<string> = new Set(['EINVAL', 'ENOTTY', 'EOPNOTSUPP', 'ENOSYS'])

/** Moves a device's state. */
export class ClientMigration {
  readonly #client: Requester
  readonly #features: ClientFeatures

  constructor(client: Requester, features: ClientFeatures) {
    this.#client = client
    this.#features = features
  }

  /** VFIO_MIGRATION_*. @throws as {@link ClientFeatures.run} */
  async flags(): Promise<number> {
    const data = await this.#features.run(vfio.VFIO_DEVICE_FEATURE_MIGRATION, 'get')
    return aimed(vfio.VfioDeviceFeatureMigration, data).flags
  }

  /** @throws as {@link ClientFeatures.run} */
  async state(): Promise<MigrationState> {
    const data = await this.#features.run(vfio.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, 'get')
    const number = aimed(vfio.VfioDeviceFeatureMigState, data).device_state
    const state = STATES.get(number)
    if (state === undefined) throw broken(`device state ${number}`)
    return state
  }

  /** Brings the device into a state, by way of others where need be. @throws EINVAL there is no way, or the hop fails */
  async go(state: MigrationState): Promise<void> {
    const data = vfio.VfioDeviceFeatureMigState.encode({ device_state: STATE_NUMBERS[state] })
    await this.#features.run(vfio.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, 'set', { data })
  }

  /**
   * The next bytes of the device's state, in stop-copy or pre-copy.
   *
   * @param size the most; fewer come at the end
   * @throws EINVAL another state, or more than max_data_xfer_size · EPROTO
   */
  async read(size: number): Promise<Uint8Array> {
    const { size: fixed } = wire.VfioUserMigData
    const request = wire.VfioUserMigData.encode({ argsz: fixed + size, size })
    const reply = await this.#client.request(wire.VFIO_USER_MIG_DATA_READ, request)
    const data = reply.subarray(fixed)
    if (aimed(wire.VfioUserMigData, reply).size !== data.length || data.length > size)
      throw broken(`MIG_DATA_READ of ${size} bytes: reply of ${reply.length}`)
    return data
  }

  /** Bytes of a state to be taken over, in resuming. @throws EINVAL another state, or more than max_data_xfer_size */
  async write(bytes: Uint8Array): Promise<void> {
    const argsz = wire.VfioUserMigData.size + bytes.length
    const head = wire.VfioUserMigData.encode({ argsz, size: bytes.length })
    await this.#client.request(wire.VFIO_USER_MIG_DATA_WRITE, Buffer.concat([head, bytes]))
  }

  /** The whole state; the device is in stop-copy then. @throws EFBIG more than 256 MiB */
  async save(): Promise<Uint8Array> {
    await this.go('stop-copy')
    const parts: Uint8Array[] = []
    const step = this.#transfer
    for (let size = 0; size <= MAX_STREAM;) {
      const part = await this.read(step)
      parts.push(part)
      size += part.length
      if (part.length < step) return Buffer.concat(parts)
    }
    throw new ErrnoError('EFBIG', `migration: a state of more than ${MAX_STREAM} bytes`)
  }

  /** Has a state taken over, which another device like this one gave; it is in stop then. @throws EINVAL not such a state */
  async load(state: Uint8Array): Promise<void> {
    await this.go('resuming')
    const step = this.#transfer
    for (let at = 0; at < state.length; at += step) await this.write(state.subarray(at, at + step))
    await this.go('stop')
  }

  get #transfer(): number {
    const { max_data_xfer_size } = this.#client.capabilities
    return Math.max(1, Math.min(max_data_xfer_size, DEFAULT_CAPABILITIES.max_data_xfer_size))
  }
}

export interface DirtyLogOptions {
  /** Bytes that one bit should stand for; 4096 unless given. */
  readonly pageSize?: number
  /** What is of interest; all unless given. */
  readonly ranges?: readonly IovaRange[]
}

/** Learns which pages of its memory the device writes. What the device writes by message is this process's own doing. */
export class ClientDirtyLog {
  readonly #features: ClientFeatures

  constructor(features: ClientFeatures) {
    this.#features = features
  }

  /** @returns the page size that the server uses @throws EINVAL it is on already, or the ranges do not fit */
  async start({ pageSize = PAGE_SIZE, ranges = [] }: DirtyLogOptions = {}): Promise<number> {
    const { VfioDeviceFeatureDmaLoggingControl: Control } = vfio
    const data = Buffer.concat([
      Control.encode({ page_size: pageSize, num_ranges: ranges.length }),
      ...ranges.map((range) => vfio.VfioDeviceFeatureDmaLoggingRange.encode(range)),
    ])
    const feature = vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_START
    return aimed(Control, await this.#features.run(feature, 'set', { data })).page_size
  }

  async stop(): Promise<void> {
    await this.#features.run(vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, 'set')
  }

  /**
   * The pages of a map that were written since the last call.
   *
   * @param iova of the map, all of it, like `length`
   * @returns a bitmap: bit n, LSB first, is page n
   * @throws EINVAL the log is off, or the device has no file of this memory · ENOENT, EOPNOTSUPP not one map
   */
  async report(iova: number, length: number, pageSize = PAGE_SIZE): Promise<Uint8Array> {
    const { VfioDeviceFeatureDmaLoggingReport: Report } = vfio
    const size = bitmapSize(length, pageSize)
    const reply = await this.#features.run(vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, 'get', {
      data: Report.encode({ iova, length, page_size: pageSize }),
      room: Report.size + size,
    })
    if (reply.length !== Report.size + size)
      throw broken(`report of ${hex(iova)}+${hex(length)}: ${reply.length} bytes`)
    return reply.subarray(Report.size)
  }
}

/** A view of `data`, as far as there is enough of it. */
function aimed<V>(
  layout: {
    readonly name: string
    readonly size: number
    view(): { aim(data: DataView): V }
  },
  data: Uint8Array,
): V {
  if (data.length < layout.size) throw broken(`${layout.name} of ${data.length} bytes`)
  return layout.view().aim(dataViewOf(data))
}

function broken(message: string): ErrnoError {
  return new ErrnoError('EPROTO', `vfio-user server: ${message}`)
}
