/** Changing settings of a running mdev: all or none, and the driver has a say. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { choice, integer } from '../../src/mdev/attribute.ts'
import type { DeviceOps, Mdev } from '../../src/mdev/driver.ts'
import { Bench, deferred, driverOf, probeNothing, uuid } from './support.ts'

const A = uuid(0xa)
const description = 'for a test'

/** A running mdev with two settings that change live and two that do not. */
async function running(changeAttributes?: (next: Readonly<Record<string, unknown>>) => unknown) {
  const handles: Mdev[] = []
  const bench = new Bench(
    driverOf({
      attributes: {
        rate: integer({ min: 1, max: 100, default: 10, description, change: 'live' }),
        mode: choice(['a', 'b'], { default: 'a', description, change: 'live' }),
        size: integer({ min: 1, max: 9, default: 4, description }),
        serial: integer({ min: 0, max: 9, default: 0, description, change: 're-creation' }),
      },
      probe(mdev) {
        handles.push(mdev)
        return {
          ...probeNothing(mdev),
          ...(changeAttributes && {
            changeAttributes: changeAttributes as NonNullable<DeviceOps['changeAttributes']>,
          }),
        }
      },
    }),
  )
  const mdev = await bench.parent.create('test-1', A, [
    ['size', '7'],
    ['rate', '20'],
  ])
  bench.take()
  return { bench, mdev, handle: handles[0]! }
}

const INITIAL = { rate: 20, mode: 'a', size: 7, serial: 0 }

describe('MdevDevice.changeAttributes()', () => {
  test('shows the driver what will be, then changes all of it, keeps their order, and says so', async () => {
    const seen: unknown[] = []
    const { bench, mdev, handle } = await running((next) => {
      seen.push(next, handle.attributes)
    })
    await mdev.changeAttributes([
      ['mode', 'b'],
      ['rate', '30'],
    ])
    assert.deepEqual(seen, [{ ...INITIAL, mode: 'b', rate: 30 }, INITIAL])
    assert.deepEqual(handle.attributes, { ...INITIAL, mode: 'b', rate: 30 })
    assert.deepEqual(mdev.texts, [
      ['size', '7'],
      ['mode', 'b'],
      ['rate', '30'],
    ])
    assert.deepEqual(bench.take(), ['change'])
  })

  test('needs no hook of the driver', async () => {
    const { mdev, handle } = await running()
    await mdev.changeAttributes([['rate', '1']])
    assert.deepEqual(handle.attributes, { ...INITIAL, rate: 1 })
  })

  for (const [title, texts, expected] of [
    ['an unknown one', [['colour', 'red']], { code: 'ENOENT' }],
    ['a bad value', [['rate', '101']], { code: 'EINVAL' }],
    [
      'one for an mdev made anew',
      [['serial', '5']],
      { code: 'EOPNOTSUPP', message: /attribute serial: .* made anew/ },
    ],
  ] as const) {
    test(`refuses ${title}, and the good ones with it, without a word to the driver`, async () => {
      const { bench, mdev, handle } = await running(() => assert.fail('was asked'))
      await assert.rejects(mdev.changeAttributes([['mode', 'b'], ...texts]), expected)
      assert.deepEqual(handle.attributes, INITIAL)
      assert.deepEqual(bench.take(), [])
    })
  }

  test("changes nothing where the driver refuses, with the driver's errno", async () => {
    const { bench, mdev, handle } = await running(() => {
      throw new ErrnoError('EBUSY', 'queue is running')
    })
    await assert.rejects(mdev.changeAttributes([['rate', '30']]), { code: 'EBUSY' })
    assert.deepEqual([handle.attributes, mdev.texts.length], [INITIAL, 2])
    assert.deepEqual(bench.take(), [])
  })

  test('is one at a time', async () => {
    const answer = deferred<void>()
    const { mdev, handle } = await running(() => answer.promise)
    const first = mdev.changeAttributes([['rate', '30']])
    await assert.rejects(mdev.changeAttributes([['mode', 'b']]), { code: 'EBUSY' })
    answer.resolve()
    await first
    await mdev.changeAttributes([['mode', 'b']])
    assert.deepEqual(handle.attributes, { ...INITIAL, rate: 30, mode: 'b' })
  })

  test('is EAGAIN where the mdev is removed while the driver thinks, or has been', async () => {
    const answer = deferred<void>()
    const { bench, mdev } = await running(() => answer.promise)
    const change = mdev.changeAttributes([['rate', '30']])
    await bench.parent.remove(A)
    answer.resolve()
    await assert.rejects(change, { code: 'EAGAIN', message: /removed/ })
    await assert.rejects(mdev.changeAttributes([['rate', '30']]), { code: 'EAGAIN' })
  })
})
