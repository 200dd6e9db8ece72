/** What hosts tell of one UUID, in whatever order it arrives: each has a connection of its own. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { silentLogger } from '../../src/lib/log.ts'
import type { MdevState } from '../../src/mdev/mdev-life.ts'
import type { MdevSnapshot, ParentSnapshot } from '../../src/mdev/state.ts'
import type { SysfsEvent, SysfsSource } from '../../src/sysfs/source.ts'
import { SysfsTree } from '../../src/sysfs/sysfs-tree.ts'
import { DEVICES, u } from './bench.ts'
import { Walker } from './walker.ts'

const NOTHING = { values: {}, status: {}, faults: [], attributes: [] }

function parentOf(name: string): ParentSnapshot {
  const type = { name: 'test-1', prettyName: '1', deviceApi: 'vfio-pci', availableInstances: 1 }
  return {
    ...NOTHING,
    name,
    driver: 'test',
    state: 'registered',
    types: [{ ...type, status: {} }],
    settings: [],
    parentAttributes: [],
    mdevs: [],
  }
}

function mdevOf(parent: string, state: MdevState): MdevSnapshot {
  return { ...NOTHING, uuid: u(1), parent, type: 'test-1', state, group: 0 }
}

/** Two parents, a and b, and what their hosts say when the test has them say it. */
function build() {
  let tell: (event: SysfsEvent) => void = () => {}
  const fails = async (): Promise<never> => {
    throw new Error('not asked here')
  }
  const source: SysfsSource = {
    parents: () => [parentOf('a'), parentOf('b')],
    subscribe: (listener) => {
      tell = listener
      return () => {}
    },
    create: fails,
    remove: fails,
    change: fails,
    changeParent: fails,
    uevent: () => {},
    show: fails,
    showParent: fails,
  }
  const walker = new Walker(new SysfsTree(source, silentLogger))
  const now = (parent: string, state: MdevState) =>
    tell({
      action: 'now',
      parent,
      now: parentOf(parent),
      mdev: mdevOf(parent, state),
      removed: state === 'removed',
    })
  return { walker, now, down: (parent: string) => tell({ action: 'down', parent }) }
}

/** Everything that leads to the mdev. */
const WAYS = [
  `${DEVICES}/${u(1)}`,
  `/bus/mdev/drivers/test/${u(1)}`,
  `/kernel/iommu_groups/0/devices/${u(1)}`,
  '/class/vfio-dev/vfio0/device',
]

for (const [title, end] of [
  ['of its end on another parent', ['removing', 'removed']],
  ['that the host of its other parent has been killed', []],
] as const) {
  test(`an mdev that comes before it is told ${title} is found by all its links`, () => {
    const { walker, now, down } = build()
    now('a', 'creating')
    now('a', 'active')
    assert.deepEqual(
      new Set(WAYS.map((way) => walker.realpath(way))),
      new Set([`/devices/virtual/test/a/${u(1)}`]),
    )
    now('b', 'creating')
    now('b', 'active')
    for (const state of ['active', ...end] as const) now('a', state)
    down('a')
    assert.deepEqual(
      new Set(WAYS.map((way) => walker.realpath(way))),
      new Set([`/devices/virtual/test/b/${u(1)}`]),
    )
    now('b', 'removing')
    now('b', 'removed')
    for (const way of WAYS) assert.equal(walker.realpath(way), undefined)
    assert.deepEqual(walker.ls('/kernel/iommu_groups'), [])
  })
}
