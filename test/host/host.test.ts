/** A host: what it makes below the run-time root and takes back. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdirSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Host, type HostOptions } from '../../src/host/host.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { integer } from '../../src/mdev/attribute.ts'
import { Client as VfioUserClient } from '../../src/vfio-user/client.ts'
import { reactor } from '../../src/os/reactor.ts'
import { connectUnix, listenUnix } from '../../src/os/unix-socket.ts'
import { Client, deferred, driverOf, IDENTITY, probeNothing } from '../mdev/support.ts'
import { Fds, openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'
import { ClaimingProcess, namesBelow, OTHER_UUID, UUID } from './support.ts'

/** A host that is closed when the `using` scope ends, and its root with it. */
class Bench implements Disposable {
  readonly scratch = new Scratch()
  readonly root: string
  readonly #hosts: Host[] = []

  constructor(below = 'root') {
    this.root = join(this.scratch.path, below)
    reactor() // what it opens stays open
  }

  host(driver: Driver = driverOf(), options: Partial<HostOptions> = {}): Host {
    const host = new Host({ driver, log: silentLogger, root: this.root, ...options })
    this.#hosts.push(host)
    return host
  }

  [Symbol.dispose](): void {
    for (const host of this.#hosts) host.close()
    this.scratch[Symbol.dispose]()
  }
}

/** What is below a root that nobody uses: at most these, empty. */
const UNUSED = ['devices', 'groups', 'hosts']

describe('Host', () => {
  test('names its parent after the driver, or as wanted, with a number where that is taken', async () => {
    using bench = new Bench()
    await using other = new ClaimingProcess()
    await other.ask({ verb: 'claimParent', root: bench.root, wanted: 'mine' })
    const names = [
      bench.host(),
      bench.host(),
      bench.host(driverOf(), { name: 'mine' }),
      bench.host(driverOf({ name: 'other' })),
    ].map((host) => host.parent.name)
    assert.deepEqual(names, ['test', 'test.1', 'mine.1', 'other'])
  })

  test('refuses a root that cannot be used, and leaves no fd', () => {
    using bench = new Bench()
    writeFileSync(bench.root, '')
    const before = openFds()
    assert.throws(() => bench.host(), { code: 'EEXIST' })
    assert.deepEqual(openFds(), before)
  })

  test('refuses a name that is no file name, and leaves no fd', () => {
    using bench = new Bench()
    const before = openFds()
    assert.throws(() => bench.host(driverOf(), { name: 'a/b' }), { code: 'EINVAL' })
    assert.deepEqual(openFds(), before)
  })
})

describe('Host.create()', () => {
  test('listens at a private socket in a private directory; remove() takes all of it back', async () => {
    using bench = new Bench()
    using fds = new Fds()
    const host = bench.host()
    const before = { names: namesBelow(bench.root), fds: openFds() }
    const mdev = await host.create('test-1', UUID.toUpperCase())
    const socket = host.socketOf(mdev)
    assert.equal(socket, join(bench.root, 'devices', UUID, 'cntrl'))
    assert.ok(statSync(socket).isSocket())
    assert.equal(statSync(socket).mode & 0o777, 0o600)
    assert.equal(statSync(mdev.directory).mode & 0o777, 0o700)
    fds.own(connectUnix(socket))
    fds[Symbol.dispose]()

    await host.parent.remove(UUID)
    assert.throws(() => connectUnix(socket), { code: 'ENOENT' })
    assert.deepEqual(namesBelow(bench.root), [...UNUSED.slice(0, 2), ...before.names])
    assert.deepEqual(openFds(), before.fds)
  })

  test('measures accesses if asked to', async () => {
    using bench = new Bench()
    const measuring = bench.host(driverOf(), { measure: true })
    const plain = bench.host()
    const [one, other] = [
      await measuring.create('test-1', UUID),
      await plain.create('test-1', OTHER_UUID),
    ]
    assert.ok(measuring.statsOf(one).times)
    assert.equal(measuring.statsOf(one).server?.clients, 0)
    assert.equal(plain.statsOf(other).times, undefined)
    await measuring.parent.remove(UUID)
    assert.deepEqual(measuring.statsOf(one), { server: undefined, times: undefined })
  })

  test('claims UUID and group on the whole machine', async () => {
    using bench = new Bench()
    const [one, other] = [bench.host(), bench.host()]
    const mdev = await one.create('test-1', UUID)
    await assert.rejects(other.create('test-1', UUID), { code: 'EEXIST', message: /in use by pid/ })
    const next = await other.create('test-1', OTHER_UUID)
    assert.deepEqual([mdev.group.number, next.group.number], [0, 1])
    one.close()
    assert.equal((await other.create('test-1', UUID)).group.number, 0)
  })

  test('of a UUID that another program serves is EEXIST, and leaves that alone', async () => {
    using bench = new Bench()
    using fds = new Fds()
    const host = bench.host()
    const directory = join(bench.root, 'devices', UUID)
    mkdirSync(directory, { recursive: true })
    fds.own(listenUnix(join(directory, 'cntrl'), 0o600))
    const before = namesBelow(bench.root)
    await assert.rejects(host.create('test-1', UUID), {
      code: 'EEXIST',
      message: /another program/,
    })
    assert.deepEqual(namesBelow(bench.root), before)
    fds.own(connectUnix(join(directory, 'cntrl')))
  })

  test('serves a device that was built anew at the same socket, to clients that come before and after', async () => {
    using bench = new Bench()
    const building = deferred<void>()
    const driver = driverOf({
      attributes: { size: integer({ min: 1, max: 9, default: 4, description: '' }) },
      async probe(mdev) {
        const size = mdev.attributes['size'] as number
        if (size === 7) await building.promise
        const pci = mdev.pci(IDENTITY)
        pci.bar(0, { kind: 'mem32', size: 4096 }, { read: () => size, write: () => {} })
        return { reset: () => {} }
      },
    })
    const host = bench.host(driver)
    const mdev = await host.create('test-1', UUID)
    const socket = host.socketOf(mdev)

    const before = await VfioUserClient.attach(socket)
    assert.equal(await before.readRegister(0, 0, 4), 4)
    await assert.rejects(mdev.changeAttributes([['size', '7']]), { code: 'EBUSY' })
    const gone = once(host.events, 'detach')
    before.detach()
    await gone

    const change = mdev.changeAttributes([['size', '7']])
    await assert.rejects(VfioUserClient.attach(socket), { code: 'EAGAIN' })
    building.resolve()
    await change
    const after = await VfioUserClient.attach(socket)
    assert.equal(await after.readRegister(0, 0, 4), 7)
    after.detach()
  })

  for (const [title, probe, code] of [
    [
      'whose driver refuses',
      () => {
        throw new ErrnoError('ENXIO', 'no')
      },
      'ENXIO',
    ],
    [
      'whose driver has put something at cntrl',
      (mdev) => {
        writeFileSync(join(mdev.directory, 'cntrl'), '')
        return probeNothing(mdev)
      },
      'EADDRINUSE',
    ],
  ] as const satisfies readonly [string, Driver['probe'], string][]) {
    test(`of an mdev ${title} is ${code} and leaves neither file nor fd`, async () => {
      using bench = new Bench()
      const host = bench.host(driverOf({ probe }))
      const before = openFds()
      await assert.rejects(host.create('test-1', UUID), { code })
      assert.deepEqual(namesBelow(bench.root), [...UNUSED, 'hosts/test.lock'])
      assert.deepEqual(openFds(), before)
    })
  }

  test('below a root too deep for a socket is ENAMETOOLONG and leaves nothing', async () => {
    using bench = new Bench('x'.repeat(100))
    const host = bench.host()
    const before = { names: namesBelow(bench.root), fds: openFds() }
    await assert.rejects(host.create('test-1', UUID), { code: 'ENAMETOOLONG' })
    assert.deepEqual({ names: namesBelow(bench.root), fds: openFds() }, before)
    assert.deepEqual(host.parent.mdevs, [])
  })

  test('of a long text that is no UUID is EINVAL, as of a short one', async () => {
    using bench = new Bench()
    const host = bench.host()
    for (const bad of ['x'.repeat(1000), 'x', '../../../etc'])
      await assert.rejects(host.create('test-1', bad), { code: 'EINVAL' })
    assert.deepEqual(namesBelow(bench.root), ['hosts', 'hosts/test.lock'])
  })
})

describe('Host.close()', () => {
  test('removes every mdev, from clients too, and leaves the root as it found it', async () => {
    using bench = new Bench()
    const before = openFds()
    const host = bench.host()
    const heard: string[] = []
    for (const event of ['detach', 'unbind', 'remove', 'unregistered'] as const)
      host.events.on(event, () => heard.push(event))
    const mdev = await host.create('test-1', UUID)
    await host.create('test-1', OTHER_UUID)
    const client = new Client(mdev)
    host.close()
    assert.equal(client.evictions, 1)
    const removal = ['unbind', 'remove']
    assert.deepEqual(heard, ['detach', ...removal, ...removal, 'unregistered'])
    assert.deepEqual(namesBelow(bench.root), UNUSED)
    assert.deepEqual(openFds(), before)
    await assert.rejects(host.create('test-1', UUID), { code: 'ENODEV' })
    assert.deepEqual(namesBelow(bench.root), UNUSED)
  })

  test('a second time does not take the name from who has it now', () => {
    using bench = new Bench()
    const first = bench.host()
    first.close()
    const second = bench.host()
    assert.equal(second.parent.name, 'test')
    first.close()
    assert.equal(bench.host().parent.name, 'test.1')
  })
})
