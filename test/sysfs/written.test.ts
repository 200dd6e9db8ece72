/** What is written to the tree: every form of the kernel's transcript (sections in the titles), with its errno. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Machine } from '../../src/daemon/machine.ts'
import { Quotas } from '../../src/daemon/quotas.ts'
import { SysfsHosts } from '../../src/daemon/sysfs-hosts.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { SysfsTree } from '../../src/sysfs/sysfs-tree.ts'
import { deferred } from '../mdev/support.ts'
import { Bench, CLASS, createOf, DEVICES, u } from './bench.ts'
import { MDPY, mprobe, MTTY } from './parents.ts'
import { Walker } from './walker.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1099'

describe('create', () => {
  test('takes 36 bytes and one more that is not looked at (1.4)', async () => {
    using bench = await Bench.start({ mtty: MTTY })
    const { walker } = bench
    const forms = ['', '\n', ' ', 'x', '\0']
    for (const [index, end] of forms.entries())
      assert.equal(await walker.write(createOf('mtty', 'mtty-1'), `${u(index)}${end}`), 'ok')
    const upper = '83B8F4F2-509F-382F-3C1E-E6BFE0FAABCD'
    assert.equal(await walker.write(createOf('mtty', 'mtty-1'), upper), 'ok')
    const nil = '00000000-0000-0000-0000-000000000000'
    assert.equal(await walker.write(createOf('mtty', 'mtty-1'), nil), 'ok')
    const created = [nil, ...forms.map((_, index) => u(index)), upper.toLowerCase()]
    assert.deepEqual(walker.ls(DEVICES), created.toSorted())
    assert.equal(await walker.read(createOf('mtty', 'mtty-1')), 'EACCES')
    assert.equal(await walker.write(createOf('mtty', 'mtty-1'), upper.toLowerCase()), 'EEXIST')
  })

  const refused = [
    '\n',
    UUID.slice(0, 35),
    `${UUID.slice(0, 35)}\n`,
    UUID.replaceAll('-', ''),
    `${UUID.replaceAll('-', '')}\n`,
    `${UUID.replaceAll('-', '')}    \n`,
    `{${UUID}}`,
    `{${UUID.slice(0, 35)}}`,
    `${UUID}zz`,
    `${UUID}\r\n`,
    ` ${UUID}`,
    `g${UUID.slice(1)}`,
    UUID.replaceAll('-', '_'),
    '83b8f4f25-09f-382f-3c1e-e6bfe0fa1099',
    `urn:uuid:${UUID}`,
    `${UUID}\n${UUID}\n`,
    UUID.repeat(120).slice(0, 4096),
    'ü'.repeat(18),
    '\0'.repeat(36),
  ]
  for (const text of refused) {
    const title = JSON.stringify(text.length > 50 ? `${text.slice(0, 50)}…` : text)
    test(`refuses ${title} with EINVAL (1.6)`, async () => {
      using bench = await Bench.start({ mtty: MTTY })
      assert.equal(await bench.walker.write(createOf('mtty', 'mtty-1'), text), 'EINVAL')
      assert.deepEqual(bench.walker.ls(DEVICES), [])
    })
  }

  test('refuses a UUID that is taken, on whatever parent, before all else (1.5, 1.12)', async () => {
    using bench = await Bench.start({ mdpy: MDPY, p: mprobe({ maxInstances: 1 }).driver })
    const { walker } = bench
    assert.equal(await walker.write(createOf('p', 'mprobe-one'), u(1)), 'ok')
    for (const create of [
      createOf('p', 'mprobe-one'),
      createOf('p', 'mprobe-two'),
      createOf('mdpy', 'mdpy-vga'),
    ])
      assert.equal(await walker.write(create, u(1)), 'EEXIST')
    assert.equal(await walker.write(createOf('p', 'mprobe-two'), u(2)), 'EUSERS')
  })

  test('says ENOSPC where the driver counts, and what the driver fails with (1.12, 2.7)', async () => {
    const probe = mprobe()
    using bench = await Bench.start({ mtty: MTTY, p: probe.driver })
    const { walker } = bench
    for (let index = 1; index <= 12; index++)
      assert.equal(await walker.write(createOf('mtty', 'mtty-2'), u(index)), 'ok')
    assert.equal(await walker.write(createOf('mtty', 'mtty-1'), u(13)), 'ENOSPC')
    for (const code of ['EIO', 'EAGAIN', 'ENODEV', 'ENXIO'] as const) {
      probe.failWith = code
      assert.equal(await walker.write(createOf('p', 'mprobe-one'), u(20)), code)
    }
    assert.equal(walker.node(`${DEVICES}/${u(20)}`), undefined)
    assert.equal(
      await walker.read(`${CLASS}/p/mdev_supported_types/mprobe-one/available_instances`),
      '2\n',
    )
  })

  test('notes who made it, and heeds quotas', async () => {
    using bench = await Bench.start({ mtty: MTTY })
    const { daemon, walker } = bench
    await walker.write(createOf('mtty', 'mtty-1'), u(1))
    assert.deepEqual(daemon.hosts.find('mtty')?.parent.mdevs[0]?.owner, {
      user: 'root',
      tool: 'root',
    })
    const quotas = new Quotas({ parents: new Map([['mtty', 1]]), owners: new Map() })
    const machine = new Machine(daemon.hosts, daemon.definitions, quotas)
    using tree = new SysfsTree(new SysfsHosts(daemon.hosts, machine), silentLogger)
    const limited = new Walker(tree)
    assert.equal(await limited.write(createOf('mtty', 'mtty-1'), u(2)), 'EDQUOT')
    assert.equal(await limited.write(createOf('mtty', 'mtty-1'), u(1)), 'EEXIST')
  })

  test('goes on when its writer is interrupted', async () => {
    const built = deferred<void>()
    const { driver } = mprobe()
    const probe: typeof driver.probe = async (mdev, shared) => {
      await built.promise
      return driver.probe(mdev, shared)
    }
    using bench = await Bench.start({ p: { ...driver, probe } })
    const { walker } = bench
    const stop = new AbortController()
    const written = walker.write(createOf('p', 'mprobe-one'), u(1), { signal: stop.signal })
    stop.abort()
    assert.equal(await written, 'EINTR')
    const bound = new Promise<void>((resolve) => {
      bench.daemon.hosts.on('event', ({ action }) => action === 'bind' && resolve())
    })
    built.resolve()
    await bound
    assert.deepEqual(walker.ls(DEVICES), [u(1)])
  })
})

describe('remove', () => {
  test('reads numbers as the kernel does: 0 does nothing (1.7)', async () => {
    using bench = await Bench.start({ mtty: MTTY })
    const { walker } = bench
    const remove = `${DEVICES}/${u(1)}/remove`
    await walker.write(createOf('mtty', 'mtty-1'), u(1))
    for (const text of ['0', '0\n', '+0', '0x0', '00', '0\0x'])
      assert.equal(await walker.write(remove, text), 'ok')
    for (const text of [
      '\n',
      'yes',
      '1x',
      ' 1',
      '1 ',
      '1\n\n',
      '-1',
      '08',
      '0x',
      '++1',
      '\0',
      '18446744073709551616',
      '9'.repeat(4096),
    ])
      assert.equal(await walker.write(remove, text), 'EINVAL', JSON.stringify(text))
    assert.deepEqual(walker.ls(DEVICES), [u(1)])
    for (const text of ['+5\n', '0x10', '017', '18446744073709551615', '1\0']) {
      await walker.write(createOf('mtty', 'mtty-1'), u(1))
      assert.equal(await walker.write(remove, text), 'ok', text)
      assert.deepEqual(walker.ls(DEVICES), [])
      assert.equal(await walker.write(remove, '1'), 'ENOENT')
    }
  })

  test('of several writers that have it open lets one do it, and tells the others ENODEV (1.7, 3.6)', async () => {
    using bench = await Bench.start({ mtty: MTTY })
    const { walker } = bench
    await walker.write(createOf('mtty', 'mtty-1'), u(1))
    const file = walker.target(`${DEVICES}/${u(1)}/remove`)
    assert.equal(file?.kind, 'file')
    const call = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal }
    const first = file.write?.(Buffer.from('1'), call)
    assert.throws(() => file.write?.(Buffer.from('1'), call), { code: 'ENODEV' })
    await first
  })

  test('waits for the client, hides the device meanwhile, and goes on when interrupted (3.1)', async () => {
    using bench = await Bench.start({})
    const { host } = await bench.host('mtty', MTTY)
    const { walker } = bench
    await walker.write(createOf('mtty', 'mtty-1'), u(1))
    await walker.write(createOf('mtty', 'mtty-1'), u(2))
    const client = bench.client(host, u(1))
    const types = `${CLASS}/mtty/mdev_supported_types`
    const stop = new AbortController()
    const hidden = new Promise<void>((resolve) => {
      bench.daemon.hosts.on('event', ({ action }) => action === 'removing' && resolve())
    })
    const removed = walker.write(`${DEVICES}/${u(1)}/remove`, '1', { signal: stop.signal })
    await hidden
    assert.deepEqual(walker.ls(DEVICES), [u(2)])
    assert.deepEqual(walker.ls(`${types}/mtty-1/devices`), [u(2)])
    assert.deepEqual(walker.ls(`${CLASS}/mtty/${u(1)}`), ['iommu_group'])
    assert.deepEqual(walker.ls('/kernel/iommu_groups'), ['0', '1'])
    assert.equal(await walker.read(`${types}/mtty-1/available_instances`), '22\n')
    assert.equal(await walker.write(`${CLASS}/mtty/${u(1)}/remove`, '1'), 'ENOENT')
    assert.equal(await walker.write(createOf('mtty', 'mtty-1'), u(1)), 'EEXIST')
    assert.equal(await walker.write(createOf('mtty', 'mtty-1'), u(3)), 'ok')
    assert.equal(await walker.write(`${DEVICES}/${u(2)}/remove`, '1'), 'ok')
    stop.abort()
    assert.equal(await removed, 'EINTR')
    const gone = new Promise<void>((resolve) => {
      bench.daemon.hosts.on('event', ({ action }) => action === 'remove' && resolve())
    })
    client.session.close()
    await gone
    assert.equal(walker.node(`${CLASS}/mtty/${u(1)}`), undefined)
    assert.equal(await walker.read(`${types}/mtty-1/available_instances`), '23\n')
  })
})

describe('the other files', () => {
  test('bind, unbind, drivers_probe, uevent take what the kernel takes (1.10, 1.11)', async () => {
    using bench = await Bench.start({ mtty: MTTY, mdpy: MDPY })
    const { walker } = bench
    await walker.write(createOf('mtty', 'mtty-1'), u(1))
    const drivers = '/bus/mdev/drivers'
    const cases = [
      [`${drivers}/mtty/bind`, u(1), 'ENODEV'],
      [`${drivers}/mdpy/unbind`, u(1), 'ENODEV'],
      [`${drivers}/mtty/unbind`, `${u(1)}\n`, 'EOPNOTSUPP'],
      [`/bus/mdev/drivers_probe`, u(1), 'ok'],
      [`/bus/mdev/drivers_probe`, u(2), 'ENODEV'],
      [`/bus/mdev/drivers_autoprobe`, '0', 'ok'],
      [`${DEVICES}/${u(1)}/uevent`, 'add\n', 'ok'],
      [`${DEVICES}/${u(1)}/uevent`, 'bogus\n', 'EINVAL'],
      [`${CLASS}/mtty/uevent`, 'change\n', 'ok'],
      [`${DEVICES}/${u(1)}/vendor/sample_mdev_dev`, 'x', 'EACCES'],
      [`${DEVICES}/${u(1)}/power/control`, 'on', 'ok'],
      [`${DEVICES}/${u(1)}/power/control`, 'off', 'EINVAL'],
      [`/kernel/iommu_groups/0/type`, 'DMA', 'EINVAL'],
      [`${CLASS}/mtty/mdev_supported_types/mtty-1/name`, 'x', 'EACCES'],
      [`${CLASS}/mtty/mdev_supported_types/mtty-1/devices`, 'x', 'EISDIR'],
    ] as const
    for (const [path, text, expected] of cases)
      assert.equal(await walker.write(path, text), expected, `${path} < ${text}`)
    assert.equal(await walker.read(`${DEVICES}/${u(1)}/power/autosuspend_delay_ms`), 'EIO')
    assert.deepEqual(walker.ls(DEVICES), [u(1)])
  })

  test('settings are written and read back; status is what the driver shows now', async () => {
    using bench = await Bench.start({ p: mprobe().driver })
    const { walker, changes } = bench
    await walker.write(createOf('p', 'mprobe-one'), u(1))
    const device = `${DEVICES}/${u(1)}`
    changes.length = 0
    assert.equal(await walker.read(`${device}/assign`), '\n')
    assert.equal(await walker.write(`${device}/assign`, 'one\n'), 'ok')
    assert.equal(await walker.write(`${device}/assign`, 'two'), 'ok')
    assert.equal(await walker.read(`${device}/assign`), 'two\n')
    assert.equal(await walker.read(`${device}/assigned`), 'one two\n')
    const assign = walker.target(`${device}/assign`)
    assert.equal(changes.filter(({ node }) => node === assign).length, 2)
    for (const text of ['bad', 'bad\n', 'a\0b', Uint8Array.of(0xff, 0xfe)])
      assert.equal(await walker.write(`${device}/assign`, text), 'EINVAL')
    assert.equal(await walker.write(`${device}/assigned`, 'x'), 'EACCES')
    assert.equal(await walker.write(`${device}/fixed`, 'x'), 'EACCES')
    assert.equal(await walker.read(`${device}/fixed`), 'f\n')
  })

  test('a file that is open when its mdev goes says ENODEV', async () => {
    using bench = await Bench.start({ p: mprobe().driver })
    const { walker } = bench
    await walker.write(createOf('p', 'mprobe-one'), u(1))
    const file = walker.target(`${DEVICES}/${u(1)}/assign`)
    const directory = walker.target(`${DEVICES}/${u(1)}`)
    assert.ok(file?.kind === 'file' && directory?.kind === 'directory')
    await walker.write(`${DEVICES}/${u(1)}/remove`, '1')
    const call = { uid: 0, gid: 0, pid: 1, signal: new AbortController().signal }
    assert.throws(() => file.read?.(call), { code: 'ENODEV' })
    assert.throws(() => file.write?.(Buffer.from('x'), call), { code: 'ENODEV' })
    assert.deepEqual([...directory.names()], [])
    assert.equal(directory.lookup('remove'), undefined)
  })

  test('a driver that throws, shows too much or nothing any more disturbs only its file', async () => {
    const { driver } = mprobe()
    let shown: () => Record<string, string> = () => ({ long: 'x', text: 'y' })
    const probe: typeof driver.probe = async (mdev, shared) => ({
      ...(await driver.probe(mdev, shared)),
      status: () => shown(),
    })
    using bench = await Bench.start({ p: { ...driver, probe } })
    const { walker } = bench
    await walker.write(createOf('p', 'mprobe-one'), u(1))
    shown = () => ({ long: 'ü'.repeat(4000), text: 'y' })
    const long = await walker.read(`${DEVICES}/${u(1)}/long`)
    assert.equal(long, `${'ü'.repeat(4000)}\n`) // who serves it shows a page
    shown = () => ({ long: 'x' })
    assert.equal(await walker.read(`${DEVICES}/${u(1)}/text`), 'EIO')
    shown = () => {
      throw new Error('no')
    }
    assert.equal(await walker.read(`${DEVICES}/${u(1)}/long`), 'EIO')
    assert.equal(await walker.read(`${DEVICES}/${u(1)}/assign`), '\n')
    assert.equal(await walker.write(`${DEVICES}/${u(1)}/remove`, '1'), 'ok')
  })
})
