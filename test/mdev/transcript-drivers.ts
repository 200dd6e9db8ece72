/** The kernel's sample drivers and the transcript's test driver, as far as their counts and refusals go. */
import { ErrnoError, type ErrnoCode } from '../../src/lib/errno.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { type Attribute, text } from '../../src/mdev/attribute.ts'
import { sharedBudget } from '../../src/mdev/instances.ts'
import { driverOf, probeNothing } from './support.ts'

/** 24 ports for both types. */
export const MTTY = driverOf({
  name: 'mtty',
  types: { 1: { name: 'Single port serial', ports: 1 }, 2: { name: 'Dual port serial', ports: 2 } },
  available: sharedBudget(24, ({ ports }) => Number(ports)),
})

/** The core counts, for all types together. @param count its module parameter */
export function mdpy(count = 4): Driver {
  return driverOf({ name: 'mdpy', types: { vga: {}, xga: {}, hd: {} }, maxInstances: count })
}

/** A budget of memory. @param count MB of it, its module parameter */
export function mbochs(count = 256): Driver {
  return driverOf({
    name: 'mbochs',
    types: {
      small: mbochsType('small', 4),
      medium: mbochsType('medium', 16),
      large: mbochsType('large', 64),
    },
    available: sharedBudget(count, ({ megabytes }) => Number(megabytes)),
  })
}

function mbochsType(size: string, megabytes: number) {
  const description = `virtual display, ${megabytes} MB video memory`
  return { name: `mbochs-${size}`, description, megabytes }
}

/** An attribute that takes any word that is not refused. */
export function attributeThat(
  refuses: (word: string) => ErrnoCode | undefined,
  change: 'live' | 'next-start' = 'next-start',
): Attribute<string> {
  return {
    ...text({ default: '', description: '', change }),
    parse: (word) => {
      const code = refuses(word)
      if (code !== undefined) throw new ErrnoError(code, `${JSON.stringify(word)} is refused`)
      return word
    },
  }
}

/** Of the test driver: `assign` takes any word but `bad`, `assigned` cannot be written. */
export function probeAttributes(change: 'live' | 'next-start') {
  return {
    assign: attributeThat((word) => (word === 'bad' ? 'EINVAL' : undefined), change),
    assigned: attributeThat(() => 'EACCES', change),
  }
}

/** The test driver: whether its probe fails, and how, can be set at any time. */
export interface Mprobe {
  readonly driver: Driver
  /** Its parameter `probe_err`. */
  probeError: ErrnoCode | undefined
}

export function mprobe(maxInstances = 2): Mprobe {
  const self: Mprobe = {
    probeError: undefined,
    driver: driverOf({
      name: 'mprobe',
      types: { one: {}, two: { name: 'Second type', description: 'test type two' } },
      maxInstances,
      attributes: probeAttributes('live'),
      probe(mdev) {
        if (self.probeError !== undefined) throw new ErrnoError(self.probeError, 'as it was told')
        return { ...probeNothing(mdev), changeAttributes: () => {} }
      },
    }),
  }
  return self
}
