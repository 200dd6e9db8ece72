/** The tree, without a mount: what is where, and how it changes. Sections are of the kernel's transcript. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SysfsHosts } from '../../src/daemon/sysfs-hosts.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { TreeNode } from '../../src/lib/tree.ts'
import { SysfsTree } from '../../src/sysfs/sysfs-tree.ts'
import { deferred, uuid } from '../mdev/support.ts'
import { Bench, CLASS, createOf, DEVICES, u } from './bench.ts'
import { MBOCHS, MDPY, mprobe, MTTY } from './parents.ts'
import { Walker } from './walker.ts'

describe('SysfsTree', () => {
  test('shows parents and types as in 1.2', async () => {
    using bench = await Bench.start({ mtty: MTTY, mdpy: MDPY, mbochs: MBOCHS })
    const { walker } = bench
    assert.deepEqual(walker.ls(CLASS), ['mbochs', 'mdpy', 'mtty'])
    assert.deepEqual(walker.node(`${CLASS}/mtty`), {
      kind: 'link',
      target: '../../devices/virtual/mtty/mtty',
    })
    assert.deepEqual(await walker.tree(`${CLASS}/mtty`), [
      'd mdev_supported_types/',
      'd mdev_supported_types/mtty-1/',
      '444 mdev_supported_types/mtty-1/available_instances "24\\n"',
      '200 mdev_supported_types/mtty-1/create (write-only)',
      '444 mdev_supported_types/mtty-1/device_api "vfio-pci\\n"',
      'd mdev_supported_types/mtty-1/devices/',
      '444 mdev_supported_types/mtty-1/name "Single port serial\\n"',
      'd mdev_supported_types/mtty-2/',
      '444 mdev_supported_types/mtty-2/available_instances "12\\n"',
      '200 mdev_supported_types/mtty-2/create (write-only)',
      '444 mdev_supported_types/mtty-2/device_api "vfio-pci\\n"',
      'd mdev_supported_types/mtty-2/devices/',
      '444 mdev_supported_types/mtty-2/name "Dual port serial\\n"',
      'd power/',
      'l subsystem -> ../../../../class/mtty',
      '644 uevent ""',
    ])
    const description = await walker.read(`${CLASS}/mdpy/mdev_supported_types/mdpy-hd/description`)
    assert.equal(description, 'virtual display, 1920x1080 framebuffer\n')
    assert.deepEqual(walker.ls('/bus/mdev'), [
      'devices',
      'drivers',
      'drivers_autoprobe',
      'drivers_probe',
      'uevent',
    ])
  })

  test('shows mdevs and their groups as in 1.8 and 1.9, and every link leads somewhere', async () => {
    using bench = await Bench.start({ mtty: MTTY, mdpy: MDPY })
    const { walker } = bench
    assert.equal(await walker.write(createOf('mtty', 'mtty-2'), `${u(1)}\n`), 'ok')
    assert.equal(await walker.write(createOf('mdpy', 'mdpy-xga'), u(2)), 'ok')
    assert.deepEqual(await walker.tree(`${DEVICES}/${u(1)}`), [
      'l driver -> ../../../../../bus/mdev/drivers/mtty',
      'l iommu_group -> ../../../../../kernel/iommu_groups/0',
      'l mdev_type -> ../mdev_supported_types/mtty-2',
      'd power/',
      '200 remove (write-only)',
      'l subsystem -> ../../../../../bus/mdev',
      '644 uevent "DRIVER=mtty\\n"',
      'd vendor/',
      `444 vendor/sample_mdev_dev "This is MDEV ${u(1)}\\n"`,
      'd vfio-dev/',
      'd vfio-dev/vfio0/',
      `l vfio-dev/vfio0/device -> ../../../${u(1)}`,
      'd vfio-dev/vfio0/power/',
      'l vfio-dev/vfio0/subsystem -> ../../../../../../../class/vfio-dev',
      '644 vfio-dev/vfio0/uevent ""',
    ])
    assert.deepEqual(await walker.tree('/kernel/iommu_groups'), [
      'd 0/',
      'd 0/devices/',
      `l 0/devices/${u(1)} -> ../../../../devices/virtual/mtty/mtty/${u(1)}`,
      '444 0/name "vfio-noiommu\\n"',
      '444 0/reserved_regions ""',
      '644 0/type "unknown\\n"',
      'd 1/',
      'd 1/devices/',
      `l 1/devices/${u(2)} -> ../../../../devices/virtual/mdpy/mdpy/${u(2)}`,
      '444 1/name "vfio-noiommu\\n"',
      '444 1/reserved_regions ""',
      '644 1/type "unknown\\n"',
    ])
    const types = `${CLASS}/mtty/mdev_supported_types/mtty-2/devices`
    assert.deepEqual(walker.node(`${types}/${u(1)}`), { kind: 'link', target: `../../../${u(1)}` })
    assert.deepEqual(danglingLinks(bench), [])
    await walker.write(`${DEVICES}/${u(1)}/remove`, '1')
    await walker.write(`${DEVICES}/${u(2)}/remove`, '1')
    assert.deepEqual(await walker.tree('/kernel/iommu_groups'), [])
    assert.deepEqual(walker.ls('/class/vfio-dev'), [])
    assert.deepEqual(walker.ls(types), [])
    assert.deepEqual(danglingLinks(bench), [])
  })

  test('has the mdevs that were there before it, and none of a host that has gone', async () => {
    using bench = await Bench.start({})
    const found = await bench.host('mtty', MTTY)
    await found.host.create('mtty-1', u(1))
    await told(bench, 'bind')
    using late = new SysfsTree(
      new SysfsHosts(bench.daemon.hosts, bench.daemon.machine),
      silentLogger,
    )
    const before = new Walker(late)
    assert.deepEqual(before.ls(DEVICES), [u(1)])
    assert.equal(await before.read(`${DEVICES}/${u(1)}/uevent`), 'DRIVER=mtty\n')
    const down = new Promise((resolve) => bench.daemon.hosts.once('down', resolve))
    found.close()
    await down
    assert.deepEqual(before.ls(DEVICES), [])
    assert.deepEqual(bench.walker.ls(DEVICES), [])
    assert.deepEqual(bench.walker.ls(CLASS), [])
    assert.deepEqual(bench.walker.ls('/devices/virtual'), [])
    assert.deepEqual(bench.walker.ls('/class'), ['mdev_bus', 'vfio-dev'])
    assert.deepEqual(bench.walker.ls('/bus/mdev/drivers'), [])
  })

  test('keeps a parent that unregisters until its client lets go, but for its link (3.4)', async () => {
    using bench = await Bench.start({})
    const { host } = await bench.host('p', mprobe({ maxInstances: 8 }).driver)
    const { walker } = bench
    const types = '/devices/virtual/mprobe/p/mdev_supported_types'
    await walker.write(createOf('p', 'mprobe-one'), u(1))
    await walker.write(createOf('p', 'mprobe-two'), u(2))
    const client = bench.client(host, u(1))
    const gone = host.parent.unregister()
    await told(bench, 'removing')
    assert.deepEqual(walker.ls(CLASS), [])
    assert.deepEqual(walker.ls(DEVICES), [u(2)])
    assert.equal(await walker.write(`${types}/mprobe-one/create`, u(4)), 'ENODEV')
    assert.equal(await walker.write(`${types}/mprobe-one/create`, u(1)), 'EEXIST')
    assert.equal(await walker.read(`${types}/mprobe-one/available_instances`), '6\n')
    assert.equal(await walker.write(`${DEVICES}/${u(2)}/remove`, '1'), 'ENODEV')
    assert.deepEqual(walker.ls(DEVICES), [u(2)])
    client.session.close()
    await gone
  })

  test('tells which entries come and go, and which counts change, and nothing else', async () => {
    using bench = await Bench.start({ mtty: MTTY, mdpy: MDPY })
    const { walker, changes } = bench
    const changed = () =>
      changes
        .splice(0)
        .map(({ node, name }) => `${pathOf(bench, node)}${name === undefined ? '' : ` ${name}`}`)
        .toSorted()
    const device = `/devices/virtual/mtty/mtty/${u(1)}`
    const types = '/devices/virtual/mtty/mtty/mdev_supported_types'
    await walker.write(createOf('mtty', 'mtty-2'), u(1))
    assert.deepEqual(
      changed().filter((line) => !line.startsWith(device)),
      [
        '/bus/mdev/devices 00000001-0000-4000-8000-000000000001',
        '/bus/mdev/drivers/mtty 00000001-0000-4000-8000-000000000001',
        '/class/vfio-dev vfio0',
        '/devices/virtual/mtty/mtty 00000001-0000-4000-8000-000000000001',
        `${types}/mtty-1/available_instances`,
        `${types}/mtty-2/available_instances`,
        `${types}/mtty-2/devices 00000001-0000-4000-8000-000000000001`,
        '/kernel/iommu_groups 0',
        '/kernel/iommu_groups/0 devices',
        '/kernel/iommu_groups/0 name',
        '/kernel/iommu_groups/0 reserved_regions',
        '/kernel/iommu_groups/0 type',
        '/kernel/iommu_groups/0/devices 00000001-0000-4000-8000-000000000001',
      ].toSorted(),
    )
    assert.equal(await walker.write(createOf('mtty', 'mtty-2'), u(1)), 'EEXIST')
    assert.deepEqual(changed(), [])
  })

  test('shows an mdev while its driver still builds it, without what only a driver makes', async () => {
    const built = deferred<void>()
    const slow = mprobe().driver
    const driver = {
      ...slow,
      probe: async (mdev: Parameters<typeof slow.probe>[0]) => {
        await built.promise
        return slow.probe(mdev, undefined)
      },
    }
    using bench = await Bench.start({ p: driver })
    const { walker } = bench
    const created = walker.write(createOf('p', 'mprobe-one'), u(1))
    await told(bench, 'add')
    assert.deepEqual(walker.ls(`${DEVICES}/${u(1)}`), ['power', 'remove', 'subsystem', 'uevent'])
    assert.equal(await walker.read(`${DEVICES}/${u(1)}/uevent`), '')
    assert.equal(await walker.write(`${DEVICES}/${u(1)}/remove`, '1'), 'EAGAIN')
    assert.deepEqual(walker.ls(`${CLASS}/p/mdev_supported_types/mprobe-one/devices`), [])
    built.resolve()
    assert.equal(await created, 'ok')
    assert.equal(await walker.write(`${DEVICES}/${u(1)}/remove`, '1'), 'ok')
  })

  test('follows a hundred mdevs event by event', async () => {
    using bench = await Bench.start({ p: { ...mprobe({ maxInstances: 100 }).driver } })
    const { walker } = bench
    const numbers = Array.from({ length: 100 }, (_, index) => index)
    for (const number of numbers)
      assert.equal(await walker.write(createOf('p', 'mprobe-one'), uuid(number)), 'ok')
    assert.equal(walker.ls(DEVICES).length, 100)
    const perCreation = bench.changes.splice(0).length / 100
    assert.ok(perCreation < 40, `${perCreation} changes for each`)
    await Promise.all(
      numbers.map((number) => walker.write(`${DEVICES}/${uuid(number)}/remove`, '1')),
    )
    assert.deepEqual(walker.ls(DEVICES), [])
    assert.deepEqual(walker.ls('/kernel/iommu_groups'), [])
  })
})

/** Resolves when a host has told that. */
async function told({ daemon }: Bench, wanted: string): Promise<void> {
  await new Promise<void>((resolve) => {
    daemon.hosts.on('event', ({ action }) => {
      if (action === wanted) resolve()
    })
  })
}

function danglingLinks({ tree, walker }: Bench): string[] {
  const found: string[] = []
  const walk = (node: TreeNode, path: string): void => {
    if (node.kind === 'link' && walker.realpath(path) === undefined) found.push(path)
    if (node.kind !== 'directory') return
    for (const name of node.names()) walk(node.lookup(name)!, `${path}/${name}`)
  }
  walk(tree.root, '')
  return found
}

/** Where a node is now. */
function pathOf({ tree }: Bench, wanted: TreeNode): string {
  const find = (node: TreeNode, path: string): string | undefined => {
    if (node === wanted) return path
    if (node.kind !== 'directory') return undefined
    for (const name of node.names()) {
      const found = find(node.lookup(name)!, `${path}/${name}`)
      if (found !== undefined) return found
    }
    return undefined
  }
  return find(tree.root, '') ?? 'nowhere'
}
