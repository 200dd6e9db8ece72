/** The parent: a disk that its mdevs share, and what is set where it is registered. */
import { realpathSync } from 'node:fs'
import {
  choice,
  type Clock,
  ErrnoError,
  flag,
  type ParentHandle,
  systemClock,
  text,
  type ValuesOf,
} from 'mdevkit'
import { Image } from './image.ts'
import { SlicedDisk } from './sliced-disk.ts'

export const parentAttributes = {
  image: text({
    required: true,
    description: 'the disk: an image file, or a block device',
    change: 're-creation',
  }),
  slices: text({
    default: '',
    description:
      'the file that records which mdev has which bytes; beside an image file unless given, to be given for a block device',
    change: 're-creation',
  }),
  direct: flag({
    default: false,
    description: 'reads and writes past the page cache of the host',
    change: 're-creation',
  }),
  flush: choice(['disk', 'none'], {
    default: 'disk',
    description:
      "what a guest's flush does: 'disk' waits until what was written outlives a power cut, 'none' loses it then",
    change: 're-creation',
  }),
} as const

export type ParentSettings = ValuesOf<typeof parentAttributes>

/**
 * Opens the disk of a parent.
 *
 * @throws ENOENT, EACCES… no such image · EINVAL too small, no disk, or its record is none · EBUSY somebody has it
 */
export function openDisk(
  { attributes, log }: Pick<ParentHandle<typeof parentAttributes>, 'attributes' | 'log'>,
  clock: Clock = systemClock,
): SlicedDisk {
  const { image: path, direct, flush, slices } = attributes
  if (path === '') throw new ErrnoError('EINVAL', 'image: empty; it is the path of the disk')
  const image = new Image({ path, direct, flushes: flush === 'disk' })
  if (slices === '' && image.file.isBlockDevice) {
    void image.file.close()
    throw new ErrnoError(
      'EINVAL',
      `image ${path}: a block device, beside which nothing can be recorded; set slices, such as slices=/var/lib/mdevkit/slices.json`,
    )
  }
  const recordPath = slices === '' ? `${realpathSync(path)}.slices.json` : slices
  return new SlicedDisk({ image, recordPath, clock, log })
}

/** What the parent shows of its disk. */
export function diskStatus(disk: SlicedDisk): Readonly<Record<string, string>> {
  return {
    size: String(disk.size),
    free: String(disk.freeInAll),
    largest_free: String(disk.free),
    slices: String(disk.count),
    io: disk.engine,
  }
}
