/** Drivers that throw, talk nonsense or never return: their parent says so, and nobody else notices. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { choice, text } from '../../src/mdev/attribute.ts'
import type { DeviceOps, Driver, Mdev } from '../../src/mdev/driver.ts'
import { snapshotOfParent } from '../../src/mdev/state.ts'
import { Bench, Client, deferred, driverOf, ManualClock, probeNothing, uuid } from './support.ts'

const A = uuid(0xa)
const B = uuid(0xb)
const BROKEN = new Error('the card is on fire')

/** What goes wrong in a call for an answer: the answer, and what is told of it. */
const BAD_ANSWERS: readonly (readonly [title: string, answer: () => unknown, told: RegExp])[] = [
  [
    'throws',
    () => {
      throw BROKEN
    },
    /on fire/,
  ],
  [
    'throws nothing',
    () => {
      throw undefined // oxlint-disable-line no-throw-literal -- a driver's author may
    },
    /undefined/,
  ],
  ['gives a promise', async () => 1, /gives a promise/],
  [
    'is rejected',
    async () => {
      throw BROKEN
    },
    /gives a promise/,
  ],
]

const BAD_STATUS: typeof BAD_ANSWERS = [
  ...BAD_ANSWERS,
  ['gives null', () => null, /gives null, no object/],
  ['gives a number', () => 5, /gives number, no object/],
  ['gives a list', () => ['a'], /no object/],
  ['gives an object in it', () => ({ a: {} }), /a: gives object, no text/],
  ['gives nothing in it', () => ({ a: undefined }), /a: gives undefined, no text/],
  ['has a name that is no file', () => ({ '../a': 'x' }), /attribute name "..\/a"/],
  [
    'has a getter that throws',
    () => ({
      get a(): string {
        throw BROKEN
      },
    }),
    /on fire/,
  ],
]

const BAD_COUNTS: typeof BAD_ANSWERS = [
  ...BAD_ANSWERS,
  ['gives no number', () => Number.NaN, /gives NaN, no number/],
  ['gives a text', () => '5', /gives '5', no number/],
  ['gives nothing', () => undefined, /gives undefined, no number/],
]

/** What is asked of a parent's driver, how the parent shows it, and what it shows instead. */
const ASKED = {
  available: { bad: BAD_COUNTS, shown: (bench: Bench) => bench.available(), otherwise: 0 },
  parentStatus: { bad: BAD_STATUS, shown: (bench: Bench) => bench.parent.status(), otherwise: {} },
  typeStatus: {
    bad: BAD_STATUS,
    shown: (bench: Bench) => bench.parent.types[0]?.status,
    otherwise: {},
  },
} as const

for (const [hook, { bad, shown, otherwise }] of Object.entries(ASKED)) {
  describe(`A driver whose ${hook}`, () => {
    for (const [title, answer, told] of bad) {
      test(`${title} has a parent that says so, once in the log, until it does right again`, () => {
        let well = false
        const good = hook === 'available' ? 7 : { a: 'b' }
        const bench = new Bench(driverOf({ [hook]: () => (well ? good : answer()) }))
        assert.deepEqual([shown(bench), shown(bench)], [otherwise, otherwise])
        const { faults } = snapshotOfParent(bench.parent)
        assert.equal(faults.length, 1)
        assert.match(faults[0] ?? '', told)
        assert.match(faults[0] ?? '', RegExp(`^${hook}: `))
        assert.equal(bench.logged.length, 1)
        well = true
        assert.deepEqual(shown(bench), good)
        assert.deepEqual(snapshotOfParent(bench.parent).faults, [])
      })
    }
  })
}

/** An mdev whose driver does what a test says. */
async function made(ops: Partial<DeviceOps>, parts: Partial<Driver> = {}) {
  const clock = new ManualClock()
  const probe = (mdev: Mdev) => ({ ...probeNothing(mdev), ...ops })
  const bench = new Bench(driverOf({ probe, ...parts }), { clock })
  const mdev = await bench.parent.create('test-1', A)
  return { bench, mdev, clock }
}

describe('A device whose status', () => {
  for (const [title, answer, told] of BAD_STATUS) {
    test(`${title} shows nothing, and says so; its parent is shown all the same`, async () => {
      const { bench, mdev } = await made({ status: answer as NonNullable<DeviceOps['status']> })
      assert.deepEqual(mdev.status(), {})
      const { mdevs, faults } = snapshotOfParent(bench.parent)
      assert.deepEqual([mdevs[0]?.status, faults], [{}, []])
      assert.match(mdevs[0]?.faults.join() ?? '', told)
    })
  }
})

/** Ways to fail in a call that nobody waits for. */
const FAILURES: readonly (readonly [title: string, fail: () => unknown])[] = [
  [
    'throws',
    () => {
      throw BROKEN
    },
  ],
  [
    'is rejected',
    async () => {
      throw BROKEN
    },
  ],
]

describe('A device whose', () => {
  for (const [title, fail] of FAILURES) {
    test(`reset ${title} is closed and opened all the same; the mdev says so until it does right`, async () => {
      let well = false
      const { mdev } = await made({ reset: () => (well ? undefined : fail()) as undefined })
      new Client(mdev).session.close()
      await Promise.resolve()
      assert.deepEqual(mdev.faults, ['reset: the card is on fire'])
      well = true
      new Client(mdev).session.close()
      assert.deepEqual(mdev.faults, [])
    })

    test(`remove ${title} is removed all the same, and the log says so`, async () => {
      const { bench } = await made({ remove: fail })
      await bench.parent.remove(A)
      await Promise.resolve()
      assert.deepEqual(bench.parent.mdevs, [])
      assert.match(bench.logged.join('\n'), /driver's remove: the card is on fire/)
      await bench.parent.create('test-1', A)
    })

    test(`dmaMap or dmaUnmap ${title} keeps its client`, async () => {
      const { mdev } = await made({ dmaMap: fail, dmaUnmap: fail })
      const { session } = new Client(mdev)
      const range = { iova: 0, size: 4096, readable: true, writable: true }
      session.dmaMap(range)
      session.dmaUnmap(range)
      await Promise.resolve()
      assert.deepEqual(
        mdev.faults.map((fault) => fault.split(':')[0]),
        ['dmaMap', 'dmaUnmap'],
      )
      session.close()
    })
  }

  const LIVE = {
    attributes: {
      pace: choice(['slow', 'fast'], { default: 'slow', description: '', change: 'live' }),
    },
  } as const satisfies Partial<Driver>

  for (const [title, fail] of FAILURES) {
    test(`changeAttributes ${title} refuses the change, and takes the next`, async () => {
      let well = false
      const { mdev } = await made(
        { changeAttributes: () => (well ? undefined : fail()) as undefined },
        LIVE,
      )
      await assert.rejects(mdev.changeAttributes([['pace', 'fast']]), BROKEN)
      assert.equal(mdev.values['pace'], 'slow')
      well = true
      await mdev.changeAttributes([['pace', 'fast']])
      assert.equal(mdev.values['pace'], 'fast')
    })
  }

  test('changeAttributes never returns is given up; until it does return others are EBUSY', async () => {
    const answer = deferred<void>()
    const { bench, mdev, clock } = await made(
      { changeAttributes: async () => answer.promise },
      LIVE,
    )
    const change = mdev.changeAttributes([['pace', 'fast']])
    clock.expire()
    await assert.rejects(change, { code: 'ETIMEDOUT', message: /not done after 10 s/ })
    await assert.rejects(mdev.changeAttributes([['pace', 'fast']]), { code: 'EBUSY' })
    const changed = new Promise((resolve) => bench.events.once('change', resolve))
    answer.resolve()
    await changed
    assert.equal(mdev.values['pace'], 'fast')
    await bench.parent.remove(A)
  })
})

/** Builds a device, and gives that. */
function builds(given: unknown): (mdev: Mdev) => unknown {
  return (mdev) => {
    probeNothing(mdev)
    return given
  }
}

test('What a driver does wrong in a timer or a promise its parent says, once in the log', () => {
  const bench = new Bench(driverOf())
  bench.parent.noteStray(BROKEN)
  bench.parent.noteStray(BROKEN)
  assert.deepEqual(bench.parent.faults, ['timer or promise: the card is on fire'])
  assert.deepEqual(bench.logged, ["error: driver's timer or promise: the card is on fire"])
})

describe('A driver whose probe', () => {
  for (const [title, probe, expected] of [
    [
      'throws no error',
      () => {
        throw 'smoke' // oxlint-disable-line no-throw-literal -- a driver's author may
      },
      (error: unknown) => error === 'smoke',
    ],
    ['gives null', () => null, { code: 'EINVAL', message: /probe has not called mdev.pci\(\)/ }],
    ['gives a number', () => 5, { code: 'EINVAL' }],
    ['gives a device that it has not built', () => ({ reset() {} }), { code: 'EINVAL' }],
    [
      'builds one and gives nothing',
      builds(undefined),
      { message: /returned undefined, not \{ reset/ },
    ],
    ['builds one and gives no reset', builds({}), { message: /probe returned no reset$/ }],
    [
      'gives a hook that is no function',
      builds({ reset() {}, remove: 3 }),
      { code: 'EINVAL', message: /probe returned a remove that is no function$/ },
    ],
  ] as const) {
    test(`${title} refuses the creation, and bears the next`, async () => {
      let well = false
      const either = ((mdev: Mdev) => (well ? probeNothing(mdev) : probe(mdev))) as Driver['probe']
      const bench = new Bench(driverOf({ maxInstances: 1, probe: either }))
      await assert.rejects(bench.parent.create('test-1', A), expected)
      well = true
      await bench.parent.create('test-1', A)
    })
  }

  test('never returns is given up, and keeps no parent from being unregistered; what it builds is removed', async () => {
    const building = deferred<void>()
    const clock = new ManualClock()
    let removed = 0
    const bench = new Bench(
      driverOf({
        async probe(mdev) {
          if (mdev.uuid === A) await building.promise
          return { ...probeNothing(mdev), remove: () => void removed++ }
        },
      }),
      { clock },
    )
    const creation = bench.parent.create('test-1', A)
    await bench.parent.create('test-1', B) // others do not notice
    clock.expire()
    await assert.rejects(creation, {
      code: 'ETIMEDOUT',
      message: `mdev ${A}: probe: not done after 30 s`,
    })
    await assert.rejects(bench.parent.remove(A), { code: 'EAGAIN' })
    const end = bench.parent.unregister({ force: true })
    clock.expire()
    await assert.rejects(end, { code: 'ETIMEDOUT' })
    assert.deepEqual([bench.parent.state, removed], ['unregistered', 1])
    const gone = new Promise((resolve) => bench.events.once('remove', resolve))
    building.resolve()
    await gone
    assert.deepEqual([bench.parent.mdevs, removed, clock.waits], [[], 2, 0])
  })
})

describe('A driver whose own attribute', () => {
  const odd = (parts: object) =>
    driverOf({ attributes: { odd: { ...text({ default: '', description: '' }), ...parts } } })

  for (const [title, fail] of FAILURES.slice(0, 1)) {
    test(`${title} in parse refuses the creation`, async () => {
      const bench = new Bench(odd({ parse: fail }))
      await assert.rejects(bench.parent.create('test-1', A, [['odd', 'x']]), BROKEN)
      await bench.parent.create('test-1', A)
    })

    test(`${title} in show shows nothing, and says so`, async () => {
      const bench = new Bench(odd({ show: fail }))
      const mdev = await bench.parent.create('test-1', A)
      assert.deepEqual([mdev.values, mdev.faults], [{}, ['attributes: the card is on fire']])
      await bench.parent.remove(A)
    })
  }
})
