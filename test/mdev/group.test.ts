/** Groups of one mdev: one user at a time, and a driver that is told of it if it wants to be. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { describeError, ErrnoError } from '../../src/lib/errno.ts'
import type { MdevGroup } from '../../src/mdev/driver.ts'
import { OwnGroup } from '../../src/mdev/group.ts'
import { type GroupHooks, ToldDriver } from '../../src/mdev/told-driver.ts'
import { deferred, ManualClock, uuid } from './support.ts'

const user = (description: string) => ({ description, process: description, evict: () => {} })
const MEMBER = { uuid: uuid(1), parent: 'parent', type: 'test-1' }

class Bench {
  released = 0
  readonly logged: string[] = []
  readonly clock = new ManualClock()
  readonly group: OwnGroup

  constructor(number = 7, hooks?: GroupHooks) {
    const claim = { value: number, release: () => void this.released++ }
    const failed = (what: string, error: unknown) =>
      void this.logged.push(`${what}: ${describeError(error)}`)
    const view = ({ id: _id, ...use }: Parameters<ToldDriver['hold']>[0]) => ({ ...use, mdevs: [] })
    const told =
      hooks &&
      new ToldDriver({ hooks: { ...hooks, failed }, parent: 'parent', clock: this.clock, view })
    this.group = new OwnGroup(claim, MEMBER, told)
  }
}

describe('OwnGroup', () => {
  test('refuses a second user with EBUSY, naming the first', () => {
    const { group } = new Bench()
    const [first, second] = [user('pid 1 (one)'), user('pid 2 (two)')]
    assert.equal(group.open(first), undefined)
    assert.equal(group.user, first)
    for (const other of [first, second]) {
      assert.throws(() => group.open(other), { code: 'EBUSY', message: /group 7.*pid 1 \(one\)/ })
    }
    assert.throws(() => group.mustBeIdle(), { code: 'EBUSY', message: /pid 1 \(one\)/ })
    group.close(first)
    assert.equal(group.user, undefined)
    group.mustBeIdle()
    assert.equal(group.open(second), undefined)
  })

  test('is closed by its user alone', () => {
    const { group } = new Bench()
    const [first, second] = [user('one'), user('two')]
    group.close(second)
    assert.equal(group.open(first), undefined)
    group.close(second)
    assert.equal(group.user, first)
  })

  test('gives its number back once', () => {
    const bench = new Bench()
    bench.group.leave()
    bench.group.leave()
    assert.equal(bench.released, 1)
  })

  test('tells its driver of each use, at once where the driver needs no time', () => {
    const heard: unknown[] = []
    const { group } = new Bench(3, {
      groupOpen: (opened) => void heard.push(['open', opened]),
      groupClose: (closed) => void heard.push(['close', closed]),
    })
    const first = user('pid 1 (one)')
    assert.equal(group.open(first), undefined)
    const told = { number: 3, user: 'pid 1 (one)', members: [MEMBER], mdevs: [] }
    assert.deepEqual(heard, [['open', told]])
    group.close(first)
    group.close(first)
    assert.deepEqual(heard, [
      ['open', told],
      ['close', told],
    ])
    assert.equal(group.open(user('two')), undefined)
    assert.equal(heard.length, 3)
  })

  test('is not opened where the driver refuses, with its errno', async () => {
    const answers: (() => void | Promise<void>)[] = [
      () => {
        throw new ErrnoError('ENOSPC', 'no link left')
      },
      () => Promise.reject(new ErrnoError('ENOSPC', 'no link left')),
      () => {},
    ]
    const closed: MdevGroup[] = []
    const { group } = new Bench(3, {
      groupOpen: () => answers.shift()?.(),
      groupClose: (of) => void closed.push(of),
    })
    const first = user('one')
    const refusal = { code: 'ENOSPC', message: 'group 3: parent parent: no link left' }
    assert.throws(() => group.open(first), refusal)
    assert.equal(group.user, undefined)
    await assert.rejects(async () => group.open(first), refusal)
    group.close(first)
    await assert.doesNotReject(async () => group.open(first)) // after the use before
    assert.deepEqual(closed, [])
    group.close(first)
    assert.equal(closed.length, 1)
  })

  test('is EIO where the driver throws no errno, which is logged', () => {
    const bench = new Bench(3, {
      groupOpen() {
        throw new TypeError('undefined is no link')
      },
    })
    assert.throws(() => bench.group.open(user('one')), { code: 'EIO', message: /undefined is no/ })
    assert.deepEqual(bench.logged, ['groupOpen: undefined is no link'])
  })

  test('waits for a driver that takes its time, but not for ever', async () => {
    const opening = deferred<void>()
    const heard: string[] = []
    const { group, clock } = new Bench(3, {
      groupOpen: () => (heard.push('open'), opening.promise),
      groupClose: () => void heard.push('close'),
    })
    const first = user('one')
    const refused = assert.rejects(async () => group.open(first), {
      code: 'ETIMEDOUT',
      message: 'group 3: parent parent: groupOpen: not done after 1.5 s',
    })
    assert.equal(clock.waits, 1)
    clock.expire()
    await refused
    assert.equal(clock.waits, 0)
    group.close(first)
    assert.deepEqual(heard, ['open'])
    const second = user('two')
    const opened = group.open(second)
    opening.resolve() // the first at last, which is over: it is told so before the second is told of
    await opened
    assert.deepEqual(heard, ['open', 'close', 'open'])
  })

  test('of a driver that throws at the end goes on, and logs it', async () => {
    const ends = [
      () => {
        throw new Error('at once')
      },
      () => Promise.reject(new Error('later')),
    ]
    const bench = new Bench(3, { groupClose: () => ends.shift()?.() })
    for (const name of ['one', 'two', 'three']) {
      const next = user(name)
      await bench.group.open(next)
      bench.group.close(next)
    }
    assert.deepEqual(bench.logged, ['groupClose: at once', 'groupClose: later'])
  })
})
