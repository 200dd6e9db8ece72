/** Migration as clients see it: states by their numbers, the stream of a device's state, and what a stopped device refuses. */
import * as vfio from '../abi/vfio.ts'
import * as wire from '../abi/vfio-user.ts'
import type { Migration, MigrationState } from '../device/migration.ts'
import { ErrnoError } from '../lib/errno.ts'
import type { Message } from './frame.ts'
import type { ServedClient } from './served-client.ts'
import { OUR_CAPABILITIES } from './version.ts'

/** What devices of ours can do. Nothing of it comes ahead of time, but a client may ask. */
export const MIGRATION_FLAGS = vfio.VFIO_MIGRATION_STOP_COPY | vfio.VFIO_MIGRATION_PRE_COPY

/** VFIO_DEVICE_STATE_* of each state. */
export const STATE_NUMBERS = {
  error: vfio.VFIO_DEVICE_STATE_ERROR,
  stop: vfio.VFIO_DEVICE_STATE_STOP,
  running: vfio.VFIO_DEVICE_STATE_RUNNING,
  'stop-copy': vfio.VFIO_DEVICE_STATE_STOP_COPY,
  resuming: vfio.VFIO_DEVICE_STATE_RESUMING,
  'pre-copy': vfio.VFIO_DEVICE_STATE_PRE_COPY,
} as const satisfies Record<MigrationState, number>

/** States by their numbers. */
export const STATES: ReadonlyMap<number, MigrationState> = new Map(
  Object.entries(STATE_NUMBERS).map(([state, number]): [number, MigrationState] => [
    number,
    state as MigrationState,
  ]),
)

/** @throws EINVAL P2P, which vfio-user does not use, or unknown */
export function stateOf(number: number): MigrationState {
  const state = STATES.get(number)
  if (state === undefined) throw new ErrnoError('EINVAL', `migration: no state ${number}`)
  return state
}

/** What a device answers while it stands still, as libvfio-user has it: all else could change it. */
const LET_THROUGH: ReadonlySet<number> = new Set([
  wire.VFIO_USER_VERSION,
  wire.VFIO_USER_REGION_READ,
  wire.VFIO_USER_REGION_WRITE,
  wire.VFIO_USER_DEVICE_FEATURE,
  wire.VFIO_USER_MIG_DATA_READ,
])

/** @throws EINVAL the device is stopped, and `message` not for a stopped device */
export function checkLetThrough({ state }: Migration, message: Message): void {
  if (state !== 'stop' && state !== 'stop-copy') return
  if (!LET_THROUGH.has(message.command))
    throw new ErrnoError('EINVAL', `command ${message.command}: the device is in ${state}`)
  if (state === 'stop-copy' && isBarAccess(message))
    throw new ErrnoError('EINVAL', 'access of a BAR: the device is in stop-copy')
}

const access = wire.VfioUserRegionAccess.view()

function isBarAccess({ command, view, at, length }: Message): boolean {
  const isAccess = command === wire.VFIO_USER_REGION_READ || command === wire.VFIO_USER_REGION_WRITE
  if (!isAccess || length < wire.VfioUserRegionAccess.size) return false
  return access.aim(view, at).region <= vfio.VFIO_PCI_BAR5_REGION_INDEX
}

const migData = wire.VfioUserMigData.view()

export function migDataRead(client: ServedClient, request: Message): number {
  const { argsz, size } = migData.aim(request.view, request.at)
  const most = Math.min(
    OUR_CAPABILITIES.max_data_xfer_size,
    client.capabilities?.max_data_xfer_size ?? 0,
  )
  if (request.length !== wire.VfioUserMigData.size || size > most)
    throw invalid(`MIG_DATA_READ: payload ${request.length}, ${size} bytes of ${most} at most`)
  if (argsz < wire.VfioUserMigData.size + size)
    throw invalid(`MIG_DATA_READ: argsz ${argsz} for ${size} bytes`)
  const data = migrationOf(client).read(size)
  const reply = client.replyRoom(wire.VfioUserMigData.size + data.length)
  reply.set(wire.VfioUserMigData.encode({ argsz: reply.length, size: data.length }))
  reply.set(data, wire.VfioUserMigData.size)
  return reply.length
}

export function migDataWrite(client: ServedClient, request: Message): number {
  const { argsz, size } = migData.aim(request.view, request.at)
  if (size > OUR_CAPABILITIES.max_data_xfer_size || argsz < wire.VfioUserMigData.size)
    throw invalid(`MIG_DATA_WRITE: ${size} bytes, argsz ${argsz}`)
  if (request.length !== wire.VfioUserMigData.size + size)
    throw invalid(`MIG_DATA_WRITE: payload ${request.length} for ${size} bytes`)
  const start = request.at + wire.VfioUserMigData.size
  migrationOf(client).write(request.bytes.subarray(start, start + size))
  return 0
}

/** @throws EINVAL the device cannot migrate */
export function migrationOf({ device }: ServedClient): Migration {
  if (device.migration === undefined) throw invalid('migration: not of this device')
  return device.migration
}

function invalid(message: string): ErrnoError {
  return new ErrnoError('EINVAL', message)
}
