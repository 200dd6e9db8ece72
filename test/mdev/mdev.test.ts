/** One mdev: its states, its client, and what a driver may do wrong. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { ClientMemory } from '../../src/device/dma.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import type { DeviceOps, Mdev } from '../../src/mdev/driver.ts'
import { FakeSignal } from '../device/support.ts'
import {
  Bench,
  Client,
  deferred,
  driverOf,
  IDENTITY,
  NO_MEMORY,
  probeNothing,
  uuid,
} from './support.ts'

const [A] = [uuid(0xa)]

/** A created mdev of a driver whose ops are `ops`. */
async function created(ops: Partial<DeviceOps> & { build?: (mdev: Mdev) => void } = {}) {
  const handles: Mdev[] = []
  const bench = new Bench(
    driverOf({
      probe(mdev) {
        handles.push(mdev)
        if (ops.build === undefined) mdev.pci(IDENTITY)
        else ops.build(mdev)
        return { reset: () => {}, ...ops }
      },
    }),
  )
  const mdev = await bench.parent.create('test-1', A)
  bench.take()
  return { bench, mdev, handle: handles[0]! }
}

describe('MdevDevice handed to a driver', () => {
  test('has its uuid, type, attributes, directory and a log of its own', async () => {
    const type = { name: 'One', ports: 1 }
    let handle: Mdev | undefined
    const bench = new Bench(
      driverOf({
        types: { 1: type },
        probe(mdev) {
          handle = mdev
          mdev.log.warn('hello')
          return probeNothing(mdev)
        },
      }),
    )
    const mdev = await bench.parent.create('test-1', A)
    assert.equal(handle?.uuid, A)
    assert.equal(handle?.type, type)
    assert.deepEqual(handle?.attributes, {})
    assert.equal(handle?.directory, mdev.directory)
    assert.deepEqual(bench.logged, [`warn: ${A}: hello`])
  })

  test('makes a PCI function in probe alone', async () => {
    const { handle } = await created()
    assert.throws(() => handle.pci(IDENTITY), { code: 'EBUSY' })
  })

  test('makes none after its creation has failed', async () => {
    let handle: Mdev | undefined
    const bench = new Bench(
      driverOf({
        probe(mdev) {
          handle = mdev
          throw new ErrnoError('ENODEV', 'no')
        },
      }),
    )
    await assert.rejects(bench.parent.create('test-1', A), { code: 'ENODEV' })
    assert.throws(() => handle?.pci(IDENTITY), { code: 'EBUSY' })
  })

  test('reaches no memory without a client', async () => {
    const { handle } = await created()
    assert.throws(() => handle.dma.read(0, new Uint8Array(1)), { code: 'EFAULT' })
  })
})

describe('MdevDevice.open()', () => {
  test('gives the device and memory to one client at a time; close() gives them back', async () => {
    const { bench, mdev, handle } = await created()
    const first = new Client(mdev)
    assert.equal(first.session.device, mdev.device)
    assert.throws(() => new Client(mdev), { code: 'EBUSY', message: /pid 4711/ })
    first.enableBusMaster()
    void handle.dma.read(0, new Uint8Array(1))
    first.session.close()
    assert.throws(() => handle.dma.read(0, new Uint8Array(1)), { code: 'EFAULT' })
    assert.deepEqual(bench.take(), ['attach', 'detach'])
    const second = new Client(mdev)
    first.session.close() // idempotent: it does not close another's
    assert.equal(mdev.group.user, second)
    assert.deepEqual(bench.take(), ['attach'])
  })

  test('leads the driver to this client’s memory', async () => {
    const { mdev, handle } = await created()
    const memory: ClientMemory = { ...NO_MEMORY, read: (iova, target) => void target.fill(iova) }
    const client = new Client(mdev, memory)
    const target = new Uint8Array(2)
    assert.throws(() => handle.dma.read(9, target), { code: 'EACCES' })
    client.enableBusMaster()
    void handle.dma.read(9, target)
    assert.deepEqual(target, Uint8Array.of(9, 9))
  })

  test('is EAGAIN while it is created and once it is removed', async () => {
    const probe = deferred<void>()
    const bench = new Bench(
      driverOf({
        async probe(mdev) {
          await probe.promise
          return probeNothing(mdev)
        },
      }),
    )
    const creation = bench.parent.create('test-1', A)
    const mdev = bench.parent.mdev(A)
    assert.throws(() => new Client(mdev), { code: 'EAGAIN', message: /creating/ })
    assert.throws(() => mdev.device, { code: 'EAGAIN' })
    assert.equal(mdev.group.user, undefined)
    probe.resolve()
    await creation
    await bench.parent.remove(A)
    assert.throws(() => new Client(mdev), { code: 'EAGAIN', message: /removed/ })
    assert.equal(mdev.state, 'removed')
  })
})

describe('MdevSession.close()', () => {
  test("shuts memory, resets with 'disconnect', closes the client's signals, then frees the group", async () => {
    const seen: unknown[] = []
    const signal = new FakeSignal()
    const { mdev } = await created({
      build(mdev) {
        const pci = mdev.pci(IDENTITY)
        pci.intx()
        this.reset = (why) => {
          seen.push(why, mdevUser())
          try {
            void mdev.dma.write(0, new Uint8Array(1))
          } catch (error) {
            seen.push(error instanceof ErrnoError && error.code)
          }
        }
      },
    })
    const mdevUser = () => mdev.group.user?.description
    const client = new Client(mdev)
    client.enableBusMaster()
    client.session.device.irqs[0]?.assign(0, [signal])
    client.session.close()
    assert.deepEqual(seen, ['disconnect', 'pid 4711 (a test)', 'EFAULT'])
    assert.equal(signal.closed, 1)
    assert.equal(mdev.group.user, undefined)
    // and configuration space is as at power-on: no bus master
    const command = new DataView(new ArrayBuffer(2))
    mdev.device.regions[7]?.read(command, 0, 4, 2)
    assert.equal(command.getUint16(0, true), 0)
  })

  test('contains a reset that throws: it is logged, and all else happens', async () => {
    const signal = new FakeSignal()
    const { bench, mdev } = await created({
      reset() {
        throw new Error('a driver’s bug')
      },
    })
    const client = new Client(mdev)
    client.enableBusMaster()
    client.session.device.irqs[3]?.assign(0, [signal])
    client.session.device.reset('device')
    client.session.close()
    assert.equal(signal.closed, 1)
    assert.equal(mdev.group.user, undefined)
    assert.deepEqual(bench.take(), ['attach', 'detach'])
    assert.deepEqual(bench.logged, Array(2).fill(`error: ${A}: driver's reset: a driver’s bug`))
  })
})

describe('MdevDevice.status()', () => {
  for (const [title, status, expected, logs] of [
    ['what the driver shows', () => ({ port0: '/dev/pts/3' }), { port0: '/dev/pts/3' }, 0],
    ['nothing without status()', undefined, {}, 0],
    ['nothing where it returns nothing', () => undefined as never, {}, 0],
    [
      'nothing where it throws, which is logged',
      () => {
        throw new Error('bug')
      },
      {},
      1,
    ],
  ] as const) {
    test(`is ${title}`, async () => {
      const { bench, mdev } = await created(status === undefined ? {} : { status })
      assert.deepEqual(mdev.status(), expected)
      assert.equal(bench.logged.length, logs)
    })
  }
})
