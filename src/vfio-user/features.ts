/**
 * DEVICE_FEATURE: one table of the features that there are, by which requests are checked, run and answered.
 *
 * All of them are for migration, so a device that cannot migrate has none. What is not there is refused with EINVAL, like
 * everything else that is wrong with a request: so does libvfio-user, by which clients of this protocol are written, and
 * QEMU takes it for the ENOTTY that Linux says here.
 */
import * as vfio from '../abi/vfio.ts'
import { MAX_LOG_RANGES } from '../iommu/dirty-log.ts'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { PAGE_SIZE } from '../os/arena.ts'
import { replyWithBitmap } from './dirty-bitmap.ts'
import type { Message } from './frame.ts'
import { MIGRATION_FLAGS, migrationOf, STATE_NUMBERS, stateOf } from './migration.ts'
import type { ServedClient } from './served-client.ts'

/** What can be done with a feature. */
interface Operation {
  /** Bytes of data that the request has, or may leave out where a GET only answers with them. */
  readonly size: number
  /** Data of any more bytes may follow, which `run` checks. */
  readonly open?: true
  /** The request's data are only room for the answer. */
  readonly optional?: true
  /** @returns the reply, its first 8 bytes to be filled in */
  readonly run: (client: ServedClient, request: Message, argsz: number) => Uint8Array
}

interface Feature {
  readonly name: string
  readonly get?: Operation
  readonly set?: Operation
}

const FIXED = vfio.VfioDeviceFeature.size

const FEATURES: ReadonlyMap<number, Feature> = new Map<number, Feature>([
  [
    vfio.VFIO_DEVICE_FEATURE_MIGRATION,
    {
      name: 'MIGRATION',
      get: { size: vfio.VfioDeviceFeatureMigration.size, optional: true, run: getMigration },
    },
  ],
  [
    vfio.VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
    {
      name: 'MIG_DEVICE_STATE',
      get: { size: vfio.VfioDeviceFeatureMigState.size, optional: true, run: getState },
      set: { size: vfio.VfioDeviceFeatureMigState.size, run: setState },
    },
  ],
  [
    vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
    {
      name: 'DMA_LOGGING_START',
      set: { size: vfio.VfioDeviceFeatureDmaLoggingControl.size, open: true, run: startLog },
    },
  ],
  [
    vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
    { name: 'DMA_LOGGING_STOP', set: { size: 0, run: stopLog } },
  ],
  [
    vfio.VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
    {
      name: 'DMA_LOGGING_REPORT',
      get: { size: vfio.VfioDeviceFeatureDmaLoggingReport.size, run: reportLog },
    },
  ],
])

const { VFIO_DEVICE_FEATURE_GET: GET, VFIO_DEVICE_FEATURE_SET: SET } = vfio
const PROBE = vfio.VFIO_DEVICE_FEATURE_PROBE
const KNOWN_FLAGS = vfio.VFIO_DEVICE_FEATURE_MASK | GET | SET | PROBE

const header = vfio.VfioDeviceFeature.view()

/** VFIO_USER_DEVICE_FEATURE. @throws EINVAL whatever is wrong with it, and what the feature says */
export function deviceFeature(client: ServedClient, request: Message): number {
  const { argsz, flags } = header.aim(request.view, request.at)
  const what = `DEVICE_FEATURE ${hex(flags)}`
  if (argsz < FIXED) throw invalid(`${what}: argsz ${argsz}`)
  if ((flags & ~KNOWN_FLAGS) !== 0) throw invalid(`${what}: reserved flags`)
  const feature = client.device.migration && FEATURES.get(flags & vfio.VFIO_DEVICE_FEATURE_MASK)
  if (feature === undefined) throw invalid(`${what}: no such feature`)
  const gets = (flags & GET) !== 0
  const sets = (flags & SET) !== 0
  if ((gets && feature.get === undefined) || (sets && feature.set === undefined))
    throw invalid(`${what}: ${feature.name} has no such operation`)
  if ((flags & PROBE) !== 0) return finish(client.replyRoom(FIXED), flags)
  const operation = gets ? feature.get : feature.set
  if (operation === undefined || gets === sets) throw invalid(`${what}: neither GET nor SET alone`)
  const data = request.length - FIXED
  const fits =
    data === operation.size ||
    (operation.open === true && data > operation.size) ||
    (operation.optional === true && data === 0)
  if (!fits) throw invalid(`${what}: ${data} bytes of data, not ${operation.size}`)
  const least = FIXED + Math.max(data, operation.size) // a SET is answered with what was set
  if (argsz < least) throw invalid(`${what}: argsz ${argsz}, ${least} are needed`)
  return finish(operation.run(client, request, argsz), flags)
}

/** Fills in the fixed part. @returns bytes of the reply */
function finish(reply: Uint8Array, flags: number): number {
  reply.set(vfio.VfioDeviceFeature.encode({ argsz: reply.length, flags }))
  return reply.length
}

function answer(client: ServedClient, data: Uint8Array): Uint8Array {
  const reply = client.replyRoom(FIXED + data.length)
  reply.set(data, FIXED)
  return reply
}

function getMigration(client: ServedClient): Uint8Array {
  return answer(client, vfio.VfioDeviceFeatureMigration.encode({ flags: MIGRATION_FLAGS }))
}

function getState(client: ServedClient): Uint8Array {
  const device_state = STATE_NUMBERS[migrationOf(client).state]
  return answer(client, vfio.VfioDeviceFeatureMigState.encode({ device_state }))
}

const migState = vfio.VfioDeviceFeatureMigState.view()

function setState(client: ServedClient, request: Message): Uint8Array {
  const { device_state } = migState.aim(request.view, request.at + FIXED)
  migrationOf(client).go(stateOf(device_state))
  return getState(client)
}

const control = vfio.VfioDeviceFeatureDmaLoggingControl.view()
const range = vfio.VfioDeviceFeatureDmaLoggingRange.view()

function startLog(client: ServedClient, request: Message): Uint8Array {
  const { size } = vfio.VfioDeviceFeatureDmaLoggingControl
  const { page_size, num_ranges } = control.aim(request.view, request.at + FIXED)
  const data = request.payload(FIXED)
  const fits = data.length === size + num_ranges * vfio.VfioDeviceFeatureDmaLoggingRange.size
  if (num_ranges > MAX_LOG_RANGES || !fits)
    throw invalid(`DMA_LOGGING_START: ${num_ranges} ranges in ${data.length} bytes`)
  const ranges = Array.from({ length: num_ranges }, (_, i) => {
    const at = request.at + FIXED + size + i * vfio.VfioDeviceFeatureDmaLoggingRange.size
    const { iova, length } = range.aim(request.view, at)
    return { iova, length }
  })
  client.container.dirtyLog.start(ranges, page_size)
  const reply = answer(client, data)
  const used = vfio.VfioDeviceFeatureDmaLoggingControl.encode({ page_size: PAGE_SIZE, num_ranges })
  reply.set(used, FIXED)
  return reply
}

function stopLog(client: ServedClient): Uint8Array {
  client.container.dirtyLog.stop()
  return client.replyRoom(FIXED)
}

const report = vfio.VfioDeviceFeatureDmaLoggingReport.view()

function reportLog(client: ServedClient, request: Message, argsz: number): Uint8Array {
  const { iova, length: size, page_size } = report.aim(request.view, request.at + FIXED)
  const prefix = FIXED + vfio.VfioDeviceFeatureDmaLoggingReport.size
  const reply = replyWithBitmap(client, { iova, size, pageSize: page_size, prefix, argsz })
  reply.set(request.payload(FIXED), FIXED)
  return reply
}

function invalid(message: string): ErrnoError {
  return new ErrnoError('EINVAL', message)
}
