/** A machine with the parents and types that mdevctl's transcript was recorded with. */
import { flag, text } from '../../src/mdev/attribute.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { perType } from '../../src/mdev/instances.ts'
import { Daemon } from '../daemon/support.ts'
import { driverOf } from '../mdev/support.ts'
import { mbochs, MTTY, probeAttributes } from '../mdev/transcript-drivers.ts'

const MDPY = driverOf({
  name: 'mdpy',
  types: { vga: { name: 'mdpy-vga' } },
  available: perType(() => 4),
})

/** The test driver of the transcript. */
const MPROBE = driverOf({
  name: 'mprobe',
  types: { one: {}, two: {} },
  maxInstances: 2,
  attributes: {
    ...probeAttributes('next-start'),
    'vfio-dev/vfio0/uevent': text({ default: '', description: '' }),
  },
})

/** Some settings of it change while it is in use, as where mdevctl has a callout script that knows how. */
const LIVE = driverOf({
  name: 'live',
  types: { 1: {} },
  attributes: {
    pace: text({ default: 'slow', description: '', change: 'live' }),
    loud: flag({ default: false, description: '', change: 'live' }),
    name: text({ default: '', description: '' }),
  },
})

const PARENTS: readonly (readonly [string, Driver])[] = [
  ['mbochs', mbochs()],
  ['mdpy', MDPY],
  ['mtty', MTTY],
  ['mprobe-a', MPROBE],
  ['mprobe-b', MPROBE],
  ['live', LIVE],
  ['a:b', mbochs()],
]

/** Those of the transcript. */
export const RECORDED = ['mbochs', 'mdpy', 'mtty', 'mprobe-a', 'mprobe-b']

/** Starts the hosts of some parents. */
export async function startParents(daemon: Daemon, names: readonly string[]): Promise<void> {
  for (const [name, driver] of PARENTS) {
    if (names.includes(name)) await daemon.host(driver, name)
  }
}

/** A machine with some parents. */
export async function machineWith(names: readonly string[]): Promise<Daemon> {
  const daemon = new Daemon()
  await startParents(daemon, names)
  return daemon
}
