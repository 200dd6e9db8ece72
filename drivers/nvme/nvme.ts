/**
 * nvme: NVMe controllers for guests, each with a slice of one disk.
 *
 * The parent has the disk, an image file or a block device; each mdev is a controller that a guest's own driver uses, with one
 * namespace on its slice. What the slices are, and who may reach what, is `sliced-disk.ts`; what the controller is, `function.ts`.
 */
import { choice, defineDriver, ErrnoError, flag, integer, text, type ValuesOf } from 'mdevkit'
import type { Limits } from './disk.ts'
import { MAX_QUEUES, nvmeFunction } from './function.ts'
import { diskStatus, openDisk, parentAttributes } from './parent.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30
/** Of the Identify Controller data. */
const MAX_SERIAL = 20

const attributes = {
  size: integer({
    min: 0,
    max: 2 ** 33,
    default: 0,
    description: 'MiB that the slice has; 0 is what the type says',
    change: 're-creation',
  }),
  block_size: choice(['512', '4096'], { default: '512', description: 'bytes of a block' }),
  queues: integer({
    min: 1,
    max: MAX_QUEUES,
    default: 4,
    description:
      'pairs of I/O queues that the guest may have; one for each of its processors is best',
  }),
  read_only: flag({ default: false, description: 'whether the guest may only read' }),
  serial: text({
    default: '',
    description: 'the serial number, at most 20 ASCII characters; made of the UUID unless given',
  }),
  bandwidth: integer({
    min: 0,
    max: Number.MAX_SAFE_INTEGER,
    default: 0,
    description: 'most bytes that the guest reads and writes in a second; 0 is without limit',
    change: 'live',
  }),
  iops: integer({
    min: 0,
    max: 2 ** 32,
    default: 0,
    description: 'most reads and writes that the guest does in a second; 0 is without limit',
    change: 'live',
  }),
  on_stop: choice(['keep', 'wipe'], {
    default: 'keep',
    description:
      "what becomes of the slice when the mdev stops: 'keep' is for the next start of the same UUID, 'wipe' zeroes it and frees its space",
    change: 'live',
  }),
} as const

type Settings = ValuesOf<typeof attributes>

export const nvme = defineDriver({
  name: 'nvme',
  types: {
    '64m': { name: 'NVMe disk of 64 MiB', size: 64 * MIB },
    '1g': { name: 'NVMe disk of 1 GiB', size: GIB },
    '10g': { name: 'NVMe disk of 10 GiB', size: 10 * GIB },
    '100g': { name: 'NVMe disk of 100 GiB', size: 100 * GIB },
  },
  attributes,
  parentAttributes,
  open: async (parent) => openDisk(parent),
  close: async (disk) => disk.close(),
  available: (type, _, disk) => disk.available(type.size),
  async probe(mdev, disk) {
    const { uuid, dma, type } = mdev
    const settings = mdev.attributes
    await disk.settled(uuid) // the slice of one that has just stopped
    const options = {
      serial: serialOf(settings.serial, uuid),
      blockSize: Number(settings.block_size) as 512 | 4096,
      queues: settings.queues,
    }
    const { slice, ...ops } = nvmeFunction(mdev, options, ({ onBatch }) =>
      disk.open(uuid, {
        dma,
        size: settings.size === 0 ? type.size : settings.size * MIB,
        typeSize: type.size,
        readOnly: settings.read_only,
        limits: limitsOf(settings),
        keep: settings.on_stop === 'keep',
        onBatch,
      }),
    )
    return {
      ...ops,
      remove: () => void slice.close(),
      changeAttributes(next) {
        disk.keep(uuid, next.on_stop === 'keep')
        slice.limit(limitsOf(next))
      },
      status: () => ({ serial: options.serial, capacity: String(slice.size) }),
    }
  },
  parentStatus: diskStatus,
})

function limitsOf({ bandwidth, iops }: Settings): Limits {
  return { bandwidth, iops }
}

/** @throws EINVAL */
function serialOf(serial: string, uuid: string): string {
  if (serial === '') return uuid.replaceAll('-', '').slice(0, MAX_SERIAL)
  if (serial.length > MAX_SERIAL || !/^[\x20-\x7e]+$/.test(serial))
    throw new ErrnoError(
      'EINVAL',
      `serial ${JSON.stringify(serial)}: at most ${MAX_SERIAL} printable ASCII characters`,
    )
  return serial
}
