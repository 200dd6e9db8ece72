/** The drivers that the kernel's transcript was recorded with, as far as sysfs shows them. */
import { ErrnoError, type ErrnoCode } from '../../src/lib/errno.ts'
import { text } from '../../src/mdev/attribute.ts'
import type { DeviceOps, Driver, Mdev } from '../../src/mdev/driver.ts'
import { sharedBudget } from '../../src/mdev/instances.ts'

function build(mdev: Mdev, rest: Partial<DeviceOps> = {}): DeviceOps {
  mdev.pci({ vendor: 0x1234, device: 0x11e8, class: 0x03_00_00 })
  return { reset: () => {}, ...rest }
}

export const MTTY: Driver = {
  name: 'mtty',
  types: {
    1: { name: 'Single port serial', ports: 1 },
    2: { name: 'Dual port serial', ports: 2 },
  },
  available: sharedBudget(24, ({ ports }) => Number(ports)),
  probe: (mdev) =>
    build(mdev, { status: () => ({ 'vendor/sample_mdev_dev': `This is MDEV ${mdev.uuid}` }) }),
}

export const MDPY: Driver = {
  name: 'mdpy',
  types: {
    vga: mdpyType('vga', '640x480'),
    xga: mdpyType('xga', '1024x768'),
    hd: mdpyType('hd', '1920x1080'),
  },
  maxInstances: 4,
  probe: (mdev) =>
    build(mdev, { status: () => ({ 'vendor/resolution': String(mdev.type['resolution']) }) }),
}

function mdpyType(id: string, resolution: string) {
  const description = `virtual display, ${resolution} framebuffer`
  return { name: `mdpy-${id}`, description, resolution }
}

export const MBOCHS: Driver = {
  name: 'mbochs',
  types: {
    small: mbochsType('small', 4),
    medium: mbochsType('medium', 16),
    large: mbochsType('large', 64),
  },
  available: sharedBudget(256, ({ megabytes }) => Number(megabytes)),
  probe: (mdev) =>
    build(mdev, { status: () => ({ 'vendor/memory': `${String(mdev.type['megabytes'])} MB` }) }),
}

function mbochsType(id: string, megabytes: number) {
  const description = `virtual display, ${megabytes} MB video memory`
  return { name: `mbochs-${id}`, description, megabytes }
}

/** The transcript's test driver: two instances for each parent, a creation that can be made to fail, a list of words. */
export interface Probe {
  readonly driver: Driver
  /** What the next creations fail with. */
  failWith: ErrnoCode | undefined
}

export function mprobe({ maxInstances = 2 } = {}): Probe {
  const probe: Probe = {
    failWith: undefined,
    driver: {
      name: 'mprobe',
      types: {
        one: { name: 'one', description: 'test type one' },
        two: { name: 'Second type', description: 'test type two' },
      },
      maxInstances,
      attributes: {
        assign: {
          ...text({ default: '', description: 'words', change: 'live' }),
          parse: (word) => {
            if (word === 'bad') throw new ErrnoError('EINVAL', `${word} is refused`)
            return word
          },
        },
        fixed: text({ default: 'f', description: '', change: 're-creation' }),
      },
      probe: (mdev) => {
        if (probe.failWith !== undefined) throw new ErrnoError(probe.failWith, 'told to')
        const assigned: string[] = []
        return build(mdev, {
          changeAttributes: ({ assign }) => void assigned.push(String(assign)),
          status: () => ({ assigned: assigned.join(' ') }),
        })
      },
    },
  }
  return probe
}
