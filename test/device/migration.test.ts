/** The states of migration, hop by hop: section 14.2 of the protocol reference. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { type Migratable, Migration, type MigrationState } from '../../src/device/migration.ts'

const MiB = 2 ** 20

/** Notes what is done with it, and fails when told to. */
class FakeDevice implements Migratable {
  readonly done: string[] = []
  readonly failing = new Set<string>()
  state: Uint8Array = Buffer.from('the state')
  loaded: Buffer | undefined

  hold(): void {
    this.#do('hold')
  }
  release(): void {
    this.#do('release')
  }
  save(): Uint8Array {
    this.#do('save')
    return this.state
  }
  load(stream: Uint8Array): void {
    this.#do('load')
    this.loaded = Buffer.from(stream)
  }

  take(): string[] {
    return this.done.splice(0)
  }

  #do(what: string): void {
    this.done.push(what)
    if (this.failing.has(what)) throw new Error(`${what} fails`)
  }
}

/** A machine in a state, reached by direct arcs. */
function inState(state: MigrationState) {
  const device = new FakeDevice()
  const migration = new Migration(device)
  const ways: Record<MigrationState, readonly MigrationState[]> = {
    running: [],
    'pre-copy': ['pre-copy'],
    stop: ['stop'],
    'stop-copy': ['stop', 'stop-copy'],
    resuming: ['stop', 'resuming'],
    error: [],
  }
  for (const step of ways[state]) migration.go(step)
  if (state === 'error') {
    device.failing.add('hold').add('release')
    assert.throws(() => migration.go('stop'))
    device.failing.clear()
  }
  device.take()
  assert.equal(migration.state, state)
  return { device, migration }
}

/** The table of section 14.2, by row; what the device does at each hop of the way. */
const WAYS: readonly [MigrationState, MigrationState, readonly string[] | 'EINVAL'][] = [
  ['stop', 'stop', []],
  ['stop', 'running', ['release']],
  ['stop', 'stop-copy', ['save']],
  ['stop', 'resuming', []],
  ['stop', 'pre-copy', ['release']],
  ['running', 'stop', ['hold']],
  ['running', 'running', []],
  ['running', 'stop-copy', ['hold', 'save']],
  ['running', 'resuming', ['hold']],
  ['running', 'pre-copy', []],
  ['stop-copy', 'stop', []],
  ['stop-copy', 'running', ['release']],
  ['stop-copy', 'stop-copy', []],
  ['stop-copy', 'resuming', []],
  ['stop-copy', 'pre-copy', 'EINVAL'],
  ['resuming', 'stop', []],
  ['resuming', 'running', ['release']],
  ['resuming', 'stop-copy', ['save']],
  ['resuming', 'resuming', []],
  ['resuming', 'pre-copy', ['release']],
  ['pre-copy', 'stop', ['hold']],
  ['pre-copy', 'running', []],
  ['pre-copy', 'stop-copy', ['hold', 'save']],
  ['pre-copy', 'resuming', ['hold']],
  ['pre-copy', 'pre-copy', []],
  ...(['stop', 'running', 'stop-copy', 'resuming', 'pre-copy', 'error'] as const).flatMap(
    (state): [MigrationState, MigrationState, 'EINVAL'][] =>
      state === 'error'
        ? [['error', 'error', 'EINVAL']]
        : [
            [state, 'error', 'EINVAL'],
            ['error', state, 'EINVAL'],
          ],
  ),
]

describe('Migration.go()', () => {
  for (const [from, to, expected] of WAYS) {
    const what = typeof expected === 'string' ? expected : `does [${expected.join(', ')}]`
    test(`from ${from} to ${to}: ${what}`, () => {
      const { device, migration } = inState(from)
      if (expected === 'EINVAL') {
        assert.throws(() => migration.go(to), { code: 'EINVAL' })
        assert.equal(migration.state, from)
        assert.deepEqual(device.take(), [])
        return
      }
      migration.go(to)
      assert.equal(migration.state, to)
      assert.deepEqual(device.take(), expected)
    })
  }

  test('is wanted in every row and column', () => {
    assert.equal(new Set(WAYS.map(([from, to]) => `${from} ${to}`)).size, 36)
    assert.equal(WAYS.length, 36)
  })
})

/** What fails, on which way, where the device is then, and what was done to keep it there. */
const FAILURES: readonly [
  failing: readonly string[],
  from: MigrationState,
  to: MigrationState,
  reached: MigrationState,
  done: readonly string[],
][] = [
  [['hold'], 'running', 'stop', 'running', ['hold', 'release']],
  [['hold'], 'running', 'stop-copy', 'running', ['hold', 'release']],
  [['save'], 'running', 'stop-copy', 'stop', ['hold', 'save', 'hold']],
  [['save'], 'stop', 'stop-copy', 'stop', ['save', 'hold']],
  [['save'], 'pre-copy', 'stop-copy', 'pre-copy', ['hold', 'save', 'release']],
  [['save'], 'resuming', 'stop-copy', 'stop', ['save', 'hold']],
  [['hold'], 'pre-copy', 'resuming', 'running', ['hold', 'release']],
  [['release'], 'stop', 'running', 'stop', ['release', 'hold']],
  [['release'], 'stop-copy', 'running', 'stop', ['release', 'hold']],
  [['release'], 'resuming', 'pre-copy', 'stop', ['release', 'hold']],
  [['hold', 'release'], 'running', 'stop', 'error', ['hold', 'release']],
  [['hold', 'release'], 'stop', 'running', 'error', ['release', 'hold']],
]

describe('Migration.go() with a hop that fails', () => {
  for (const [failing, from, to, reached, done] of FAILURES) {
    test(`${failing.join(' and ')}, from ${from} to ${to}: is in ${reached}`, () => {
      const { device, migration } = inState(from)
      for (const what of failing) device.failing.add(what)
      assert.throws(() => migration.go(to), { message: /^\w+ fails$/ })
      assert.equal(migration.state, reached)
      assert.deepEqual(device.take(), done)
    })
  }

  test('a state that is not taken over stays in resuming, however often, until a reset', () => {
    const { device, migration } = inState('resuming')
    device.failing.add('load')
    migration.write(Buffer.from('bad'))
    for (const to of ['stop', 'running', 'stop-copy', 'pre-copy'] as const) {
      assert.throws(() => migration.go(to), { message: 'load fails' })
      assert.equal(migration.state, 'resuming')
    }
    migration.reset()
    assert.equal(migration.state, 'running')
    device.failing.clear()
    device.take()
    migration.go('resuming')
    migration.go('stop')
    assert.deepEqual(device.take(), ['hold'], 'nothing of it is left')
  })

  test('what was missing may be written, and then it is taken over', () => {
    const { device, migration } = inState('resuming')
    device.failing.add('load')
    migration.write(Buffer.from('first'))
    assert.throws(() => migration.go('stop'))
    device.failing.clear()
    migration.write(Buffer.from(' and last'))
    migration.go('stop')
    assert.equal(device.loaded?.toString(), 'first and last')
  })

  test('a state beyond 256 MiB is not given: EFBIG', () => {
    const { device, migration } = inState('stop')
    device.state = new Uint8Array(256 * MiB + 1)
    assert.throws(() => migration.go('stop-copy'), { code: 'EFBIG' })
    assert.equal(migration.state, 'stop')
  })
})

describe('Migration.reset()', () => {
  for (const state of ['running', 'pre-copy', 'resuming', 'error'] as const) {
    test(`leads from ${state} to running`, () => {
      const { device, migration } = inState(state)
      migration.reset()
      assert.equal(migration.state, 'running')
      assert.equal(migration.stopped, false)
      assert.deepEqual(device.take(), ['release'])
    })
  }
})

test('Migration.stopped is the device standing still', () => {
  const stopped = (['running', 'pre-copy', 'stop', 'stop-copy', 'resuming', 'error'] as const).map(
    (state) => inState(state).migration.stopped,
  )
  assert.deepEqual(stopped, [false, false, true, true, true, true])
})

describe('the stream of Migration', () => {
  test('is read in pieces of any size, once, to its end', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.array(fc.nat(40)), (state, sizes) => {
        const { device, migration } = inState('stop')
        device.state = state
        migration.go('stop-copy')
        const parts = [...sizes, 200, 1].map((size) => migration.read(size))
        assert.deepEqual(Buffer.concat(parts), Buffer.from(state))
        assert.equal(parts.at(-1)?.length, 0)
      }),
    )
  })

  test('starts anew in each stop-copy', () => {
    const { migration } = inState('stop-copy')
    migration.read(4)
    migration.go('stop')
    migration.go('stop-copy')
    assert.equal(Buffer.from(migration.read(100)).toString(), 'the state')
  })

  test('has nothing ahead of time, and then all of it', () => {
    const { migration } = inState('pre-copy')
    assert.equal(migration.read(100).length, 0)
    migration.go('stop-copy')
    assert.equal(migration.read(100).length, 9)
  })

  test('is written in pieces of any size, copied, and taken over whole', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (parts) => {
        const { device, migration } = inState('resuming')
        for (const part of parts) {
          const bytes = part.slice()
          migration.write(bytes)
          bytes.fill(0xee)
        }
        migration.go('stop')
        const whole = Buffer.concat(parts)
        assert.deepEqual(device.loaded, whole.length === 0 ? undefined : whole)
      }),
    )
  })

  test('takes 256 MiB and not a byte more: ENOSPC, and it can be taken over still', () => {
    const { device, migration } = inState('resuming')
    const part = new Uint8Array(32 * MiB)
    for (let i = 0; i < 8; i++) migration.write(part)
    assert.throws(() => migration.write(Uint8Array.of(1)), { code: 'ENOSPC' })
    migration.go('stop')
    assert.equal(device.loaded?.length, 256 * MiB)
  })

  for (const state of ['running', 'stop', 'resuming', 'error'] as const) {
    test(`cannot be read in ${state}: EINVAL`, () => {
      assert.throws(() => inState(state).migration.read(1), { code: 'EINVAL' })
    })
  }
  for (const state of ['running', 'pre-copy', 'stop', 'stop-copy', 'error'] as const) {
    test(`cannot be written in ${state}: EINVAL`, () => {
      assert.throws(() => inState(state).migration.write(new Uint8Array(1)), { code: 'EINVAL' })
    })
  }
})
