/** What the mdevs of a parent share: opened once before there are any, closed once after the last. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { integer, text } from '../../src/mdev/attribute.ts'
import { defineDriver } from '../../src/mdev/driver.ts'
import {
  Bench,
  type BenchOptions,
  deferred,
  driverOf,
  IDENTITY,
  ManualClock,
  probeNothing,
  uuid,
} from './support.ts'

const A = uuid(0xa)
const B = uuid(0xb)
const description = 'for a test'

/** A driver that shares a list, in which each of its parts says what it was asked. */
function sharing(said: string[]) {
  return defineDriver({
    name: 'test',
    types: { 1: { size: 1 }, 2: { size: 2 } },
    parentAttributes: {
      image: text({ required: true, description }),
      room: integer({ min: 1, max: 9, default: 3, description, change: 'live' }),
    },
    open(parent) {
      said.push(`open ${parent.attributes.image}`)
      return { parent, said, image: parent.attributes.image }
    },
    close: (shared) => void shared.said.push(`close ${shared.image}`),
    available: (type, mdevs, { parent }) =>
      Math.floor((parent.attributes.room - mdevs.length) / type.size),
    parentStatus: ({ parent, image }) => ({ room: `${parent.attributes.room} in ${image}` }),
    typeStatus: (type, { image }) => ({ size: `${type.size} of ${image}` }),
    changeParentAttributes(next, { parent }) {
      said.push(`room ${parent.attributes.room} to ${next.room}`)
      if (next.room === 9) throw new ErrnoError('ENOSPC', 'no room for 9')
    },
    probe(mdev, shared) {
      shared.said.push(`probe ${mdev.uuid === A ? 'A' : 'B'}`)
      mdev.pci(IDENTITY)
      return { reset: () => {}, remove: () => void shared.said.push('remove') }
    },
  })
}

const IMAGE = { settings: [['image', 'disk']] } as const satisfies BenchOptions

describe("Parent whose driver has an 'open'", () => {
  test('opens once before the first mdev, shares it with all, and closes once after the last', async () => {
    const said: string[] = []
    const bench = new Bench(sharing(said), IMAGE)
    await bench.parent.registered
    await bench.parent.create('test-1', A)
    await bench.parent.create('test-1', B)
    await bench.parent.unregister({ force: true })
    await bench.parent.unregister({ force: true })
    assert.deepEqual(said, ['open disk', 'probe A', 'probe B', 'remove', 'remove', 'close disk'])
  })

  test('asks it, with what it shares, for counts and for what parent and types show', async () => {
    const bench = new Bench(sharing([]), IMAGE)
    await bench.parent.create('test-1', A)
    assert.deepEqual([bench.available('test-1'), bench.available('test-2')], [2, 1])
    assert.deepEqual(bench.parent.status(), { room: '3 in disk' })
    assert.deepEqual(bench.parent.values, { image: 'disk', room: '3' })
    assert.deepEqual(
      bench.parent.types.map(({ status }) => status),
      [{ size: '1 of disk' }, { size: '2 of disk' }],
    )
  })

  for (const [title, settings, expected] of [
    [
      'a setting that is missing',
      [],
      { code: 'EINVAL', message: 'attribute image: required, and not given: text' },
    ],
    ['a setting that is not known', [...IMAGE.settings, ['colour', 'red']], { code: 'ENOENT' }],
    ['a bad value', [...IMAGE.settings, ['room', '10']], { code: 'EINVAL' }],
  ] as const) {
    test(`refuses ${title}, and opens nothing`, () => {
      const said: string[] = []
      assert.throws(() => new Bench(sharing(said), { settings }), expected)
      assert.deepEqual(said, [])
    })
  }

  test('is not registered where it throws, and is as its promise says where it makes one', async () => {
    const failure = new ErrnoError('ENOENT', 'image disk: not there')
    const open = () => {
      throw failure
    }
    assert.throws(() => new Bench(driverOf({ open })), failure)

    const bench = new Bench(driverOf({ open: async () => open() }))
    assert.equal(bench.parent.state, 'registering')
    await assert.rejects(bench.parent.registered, failure)
    await assert.rejects(bench.parent.create('test-1', A), { code: 'ENODEV' })
    await bench.parent.unregister()
    assert.deepEqual(
      [bench.parent.state, bench.take().includes('unregistered')],
      ['unregistered', false],
    )
  })

  test('creates nothing, and asks it nothing, before it has opened', async () => {
    const opening = deferred<string>()
    const asked: unknown[] = []
    const bench = new Bench(
      driverOf({
        open: async () => opening.promise,
        available: (_type, _mdevs, shared) => asked.push(shared),
        parentStatus: (shared) => ({ shared: String(shared) }),
      }),
    )
    await assert.rejects(bench.parent.create('test-1', A), {
      code: 'ENODEV',
      message: 'parent parent: registering',
    })
    assert.deepEqual([bench.available(), bench.parent.status()], [0, {}])
    bench.take()
    opening.resolve('what it opened')
    await bench.parent.registered
    await bench.parent.create('test-1', A)
    assert.deepEqual(bench.take().slice(0, 1), ['registered'])
    assert.deepEqual(bench.parent.status(), { shared: 'what it opened' })
    assert.ok(asked.length > 0 && asked.every((shared) => shared === 'what it opened'))
  })

  test('gives up on one that never ends, and closes what it opens after all', async () => {
    const opening = deferred<string>()
    const closed = deferred<unknown>()
    const clock = new ManualClock()
    const bench = new Bench(
      driverOf({ open: async () => opening.promise, close: (shared) => closed.resolve(shared) }),
      { clock },
    )
    clock.expire()
    await assert.rejects(bench.parent.registered, {
      code: 'ETIMEDOUT',
      message: 'driver test: open: not done after 20 s',
    })
    opening.resolve('late')
    assert.equal(await closed.promise, 'late')
    assert.deepEqual([bench.parent.state, clock.waits], ['unregistered', 0])
  })

  test('closes what it opens while it is being unregistered', async () => {
    const opening = deferred<string>()
    const closed: unknown[] = []
    const bench = new Bench(
      driverOf({ open: async () => opening.promise, close: (shared) => void closed.push(shared) }),
    )
    const end = bench.parent.unregister({ force: true })
    opening.resolve('in between')
    await end
    await assert.rejects(bench.parent.registered, { code: 'ENODEV' })
    assert.deepEqual([closed, bench.take()], [['in between'], []])
  })

  for (const [title, close] of [
    ['throws', () => assert.fail('broken')],
    ['is rejected', async () => assert.fail('broken')],
    ['never ends', async () => deferred<void>().promise],
  ] as const) {
    test(`is unregistered also where its close ${title}, which is logged`, async () => {
      const clock = new ManualClock()
      const bench = new Bench(driverOf({ close }), { clock })
      const end = bench.parent.unregister()
      clock.expire()
      await end
      assert.equal(bench.parent.state, 'unregistered')
      assert.match(bench.logged.join('\n'), /driver's close: /)
    })
  }
})

describe('Parent.changeAttributes()', () => {
  test('asks the driver, then changes the settings, and says so', async () => {
    const said: string[] = []
    const bench = new Bench(sharing(said), IMAGE)
    bench.take()
    await bench.parent.changeAttributes([['room', '5']])
    assert.deepEqual(said, ['open disk', 'room 3 to 5'])
    assert.deepEqual(bench.parent.texts, [
      ['image', 'disk'],
      ['room', '5'],
    ])
    assert.deepEqual([bench.available(), bench.take()], [5, ['changed']])
  })

  for (const [title, texts, code] of [
    ['where the driver does', [['room', '9']], 'ENOSPC'],
    ['a bad value', [['room', '0']], 'EINVAL'],
    ['an unknown one', [['colour', 'red']], 'ENOENT'],
    ['one that is not live', [['image', 'other']], 'EOPNOTSUPP'],
  ] as const) {
    test(`refuses ${title}, and changes nothing`, async () => {
      const bench = new Bench(sharing([]), IMAGE)
      bench.take()
      await assert.rejects(bench.parent.changeAttributes([['room', '4'], ...texts]), { code })
      assert.deepEqual(bench.parent.values, { image: 'disk', room: '3' })
      assert.deepEqual(bench.take(), [])
    })
  }

  test('is one at a time, and for a parent that is registered', async () => {
    const answer = deferred<void>()
    const bench = new Bench(
      { ...sharing([]), changeParentAttributes: async () => answer.promise },
      IMAGE,
    )
    const first = bench.parent.changeAttributes([['room', '4']])
    await assert.rejects(bench.parent.changeAttributes([['room', '5']]), { code: 'EBUSY' })
    answer.resolve()
    await first
    assert.equal(bench.parent.values['room'], '4')
    await bench.parent.unregister()
    await assert.rejects(bench.parent.changeAttributes([['room', '5']]), { code: 'ENODEV' })
  })

  test('needs no hook of the driver', async () => {
    const bench = new Bench(
      driverOf({
        parentAttributes: {
          n: integer({ min: 0, max: 9, default: 0, description, change: 'live' }),
        },
      }),
    )
    await bench.parent.changeAttributes([['n', '7']])
    assert.deepEqual(bench.parent.values, { n: '7' })
  })
})

describe('defineDriver() of a driver that shares', () => {
  test('infers what is shared, also from a promise; the compiler checks this test', () => {
    const driver = defineDriver({
      name: 'test',
      types: { 1: {} },
      parentAttributes: { size: integer({ min: 0, max: 9, default: 0, description }) },
      async open(parent) {
        return { size: parent.attributes.size }
      },
      available: (_type, _mdevs, shared) => shared.size satisfies number,
      probe(mdev, shared) {
        shared.size satisfies number
        // @ts-expect-error nothing of that name is shared
        void shared.colour
        return probeNothing(mdev)
      },
    })
    assert.equal(driver.name, 'test')
  })
})
