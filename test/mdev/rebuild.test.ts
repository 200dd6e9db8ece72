/** Settings for the next start, written to an mdev that nobody has open: its device is built anew, in place. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { integer } from '../../src/mdev/attribute.ts'
import type { DeviceOps, Mdev } from '../../src/mdev/driver.ts'
import type { SharedMemory } from '../../src/device/shared-memory.ts'
import {
  Bench,
  type BenchOptions,
  Client,
  deferred,
  driverOf,
  ManualClock,
  NO_MEMORY,
  probeNothing,
  uuid,
} from './support.ts'

const A = uuid(0xa)
const description = 'for a test'

/** What the driver says when it is to build a device with a size; nothing where it just does. */
type Answer = (size: number) => void | Promise<void>

/** An mdev of size 4, built at once; how later ones are built is for the test to say. */
async function running(options: BenchOptions = {}) {
  const said: string[] = []
  const handles: Mdev[] = []
  let answer: Answer = () => {}
  const driver = driverOf({
    maxInstances: 1,
    attributes: {
      size: integer({ min: 1, max: 9, default: 4, description }),
      rate: integer({ min: 1, max: 9, default: 1, description, change: 'live' }),
      serial: integer({ min: 0, max: 9, default: 0, description, change: 're-creation' }),
    },
    async probe(mdev): Promise<DeviceOps> {
      const size = mdev.attributes['size'] as number
      said.push(`probe ${size}`)
      handles.push(mdev)
      await answer(size)
      return {
        ...probeNothing(mdev),
        remove: () => void said.push(`remove ${size}`),
        changeAttributes: () => void said.push('live'),
        status: () => ({ size: String(size) }),
      }
    },
  })
  const bench = new Bench(driver, options)
  const mdev = await bench.parent.create('test-1', A)
  bench.take()
  said.length = 0
  return { bench, mdev, said, handles, answer: (next: Answer) => void (answer = next) }
}

describe("MdevDevice.changeAttributes() of a setting for the 'next-start'", () => {
  test('lets the driver remove the device and probe it anew; identity, socket and group stay', async () => {
    const { bench, mdev, said, handles } = await running()
    const { group, directory } = mdev
    await mdev.changeAttributes([['size', '7']])
    assert.deepEqual(said, ['remove 4', 'probe 7'])
    assert.deepEqual(bench.take(), ['change'])
    assert.deepEqual(mdev.status(), { size: '7' })
    assert.deepEqual(mdev.texts, [['size', '7']])
    assert.deepEqual(mdev.values, { size: '7', rate: '1', serial: '0' })
    assert.deepEqual(
      [mdev.state, mdev.group, mdev.directory, mdev.handle === handles[1], bench.available()],
      ['active', group, directory, true, 0],
    )
    new Client(mdev).session.close()
    await bench.parent.remove(A)
    assert.deepEqual(said, ['remove 4', 'probe 7', 'remove 7'])
  })

  test('is one transaction with those that are live: the driver hears of them by its probe', async () => {
    const { mdev, said, handles } = await running()
    await mdev.changeAttributes([
      ['rate', '2'],
      ['size', '5'],
    ])
    assert.deepEqual(said, ['remove 4', 'probe 5'])
    assert.deepEqual(handles[1]?.attributes, { size: 5, rate: 2, serial: 0 })
  })

  test('builds nothing where the value is what it was, however it is written', async () => {
    const { mdev, said } = await running()
    const client = new Client(mdev)
    await mdev.changeAttributes([['size', '0x4']])
    client.session.close()
    assert.deepEqual([said, mdev.texts], [['live'], [['size', '0x4']]])
  })

  test('is EBUSY while a client has it open, and changes nothing', async () => {
    const { bench, mdev, said } = await running()
    const client = new Client(mdev)
    await assert.rejects(
      mdev.changeAttributes([
        ['rate', '2'],
        ['size', '5'],
      ]),
      { code: 'EBUSY', message: /in use by pid 4711 \(a test\); size can change without a client/ },
    )
    assert.deepEqual([said, mdev.values['rate']], [[], '1'])
    client.session.close()
    bench.take()
    await mdev.changeAttributes([['size', '5']])
    assert.deepEqual(bench.take(), ['change'])
  })

  for (const [title, texts, code] of [
    ['an mdev made anew', [['serial', '1']], 'EOPNOTSUPP'],
    ['a bad value', [['size', '10']], 'EINVAL'],
    ['an unknown one', [['colour', 'red']], 'ENOENT'],
  ] as const) {
    test(`is refused with ${title} among them, and builds nothing`, async () => {
      const { mdev, said } = await running()
      await assert.rejects(mdev.changeAttributes([['size', '5'], ...texts]), { code })
      assert.deepEqual(said, [])
    })
  }

  test('builds the device as it was where the driver refuses, with its errno', async () => {
    const { bench, mdev, said, answer } = await running()
    answer((size) => {
      if (size === 5) throw new ErrnoError('ENOSPC', 'no room for 5')
    })
    await assert.rejects(mdev.changeAttributes([['size', '5']]), {
      code: 'ENOSPC',
      message: 'no room for 5',
    })
    assert.deepEqual(said, ['remove 4', 'probe 5', 'probe 4'])
    assert.deepEqual([bench.take(), mdev.texts, mdev.status()], [[], [], { size: '4' }])
    new Client(mdev).session.close()
    await mdev.changeAttributes([['size', '6']])
    assert.equal(mdev.values['size'], '6')
  })

  test('removes the mdev, and says so in the log, where it cannot be built as it was either', async () => {
    const { bench, mdev, said, answer } = await running()
    answer((size) => {
      throw new ErrnoError('EIO', `the card is broken (${size})`)
    })
    await assert.rejects(mdev.changeAttributes([['size', '5']]), {
      code: 'EIO',
      message: 'the card is broken (5)',
    })
    await Promise.resolve() // the removal waits for the end of the change
    assert.deepEqual(said, ['remove 4', 'probe 5', 'probe 4'])
    assert.match(bench.logged.join('\n'), /removed: .*: EIO: the card is broken \(4\)/)
    assert.deepEqual(bench.take(), ['unbind', 'hide', 'remove', 'release group', 'release uuid'])
    assert.deepEqual([bench.parent.mdevs, bench.available()], [[], 1])
  })

  test('has a client that comes in between refused with EAGAIN; afterwards it may come', async () => {
    const { mdev, answer } = await running()
    const building = deferred<void>()
    answer(async () => building.promise)
    const change = mdev.changeAttributes([['size', '5']])
    assert.throws(() => new Client(mdev, NO_MEMORY), { code: 'EAGAIN', message: /are changing/ })
    building.resolve()
    await change
    new Client(mdev).session.close()
  })

  test('is one at a time, live ones included', async () => {
    const { mdev, said, answer } = await running()
    const building = deferred<void>()
    answer(async () => building.promise)
    const change = mdev.changeAttributes([['size', '5']])
    for (const texts of [[['size', '6']], [['rate', '2']]] as const)
      await assert.rejects(mdev.changeAttributes(texts), { code: 'EBUSY' })
    building.resolve()
    await change
    await mdev.changeAttributes([['size', '6']])
    assert.deepEqual(said, ['remove 4', 'probe 5', 'remove 5', 'probe 6'])
  })

  for (const [title, remove] of [
    ['removed', async (bench: Bench) => bench.parent.remove(A)],
    ['removed by force', async (bench: Bench) => bench.parent.remove(A, { force: true })],
    ['unregistered with its parent', async (bench: Bench) => bench.parent.unregister()],
  ] as const) {
    for (const [how, ends] of [
      ['what was built goes with it', undefined],
      ['nothing is built again', new ErrnoError('EIO', 'broken')],
    ] as const) {
      test(`is EAGAIN where it is ${title} meanwhile, which waits for the probe; ${how}`, async () => {
        const { bench, mdev, said, answer } = await running()
        const building = deferred<void>()
        answer(async () => building.promise)
        const change = mdev.changeAttributes([['size', '5']])
        const removal = remove(bench)
        assert.deepEqual([mdev.state, bench.take()], ['removing', []])
        if (ends === undefined) building.resolve()
        else building.reject(ends)
        await assert.rejects(change, { code: 'EAGAIN' })
        await removal
        const removed = ends === undefined ? ['remove 5'] : []
        assert.deepEqual(said, ['remove 4', 'probe 5', ...removed])
        assert.deepEqual(bench.parent.mdevs, [])
        assert.ok(!bench.take().includes('change'))
      })
    }
  }

  test('gives up on a probe that never ends; what comes of it later holds', async () => {
    const clock = new ManualClock()
    const { bench, mdev, answer } = await running({ clock })
    const building = deferred<void>()
    answer(async () => building.promise)
    const change = mdev.changeAttributes([['size', '5']])
    clock.expire()
    await assert.rejects(change, { code: 'ETIMEDOUT', message: /not done after 30 s/ })
    await assert.rejects(mdev.changeAttributes([['size', '6']]), { code: 'EBUSY' })
    const changed = new Promise((resolve) => bench.events.once('change', resolve))
    building.resolve()
    await changed
    assert.deepEqual([mdev.values['size'], mdev.status()], ['5', { size: '5' }])
  })

  test('keeps no parent from being unregistered, even where its probe never ends', async () => {
    const clock = new ManualClock()
    const { bench, mdev, said, answer } = await running({ clock })
    const building = deferred<void>()
    answer(async () => building.promise)
    const change = mdev.changeAttributes([['size', '5']])
    const end = bench.parent.unregister({ force: true })
    clock.expire()
    await assert.rejects(change, { code: 'ETIMEDOUT' })
    await assert.rejects(end, { code: 'ETIMEDOUT', message: /probe: not done/ })
    assert.equal(bench.parent.state, 'unregistered')
    building.resolve()
    await new Promise((resolve) => bench.events.once('remove', resolve))
    assert.deepEqual(said, ['remove 4', 'probe 5', 'remove 5'])
  })

  test('frees the memory that the old device shared; pci() and sharedMemory() of its handle are refused', async () => {
    const memories: SharedMemory[] = []
    const handles: Mdev[] = []
    const bench = new Bench(
      driverOf({
        attributes: { size: integer({ min: 1, max: 9, default: 4, description }) },
        probe(mdev) {
          handles.push(mdev)
          const memory = mdev.sharedMemory(4096)
          memory.bytes[0] = 0x5a
          memories.push(memory)
          return probeNothing(mdev)
        },
      }),
    )
    const mdev = await bench.parent.create('test-1', A)
    await mdev.changeAttributes([['size', '5']])
    assert.deepEqual(
      memories.map(({ bytes }) => bytes[0]),
      [0, 0x5a],
    )
    for (const handle of handles)
      assert.throws(() => handle.sharedMemory(4096), { code: 'EBUSY', message: /for probe/ })
    await bench.parent.remove(A)
    assert.equal(memories[1]?.bytes[0], 0)
  })
})
