/** Instance policies: the counts of the kernel's samples, as kernel-mdev-transcript.md 1.12 to 1.14 has them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { homogeneous, perType, sharedBudget } from '../../src/mdev/instances.ts'
import { Bench, driverOf, uuid } from './support.ts'

const SMALL = { mb: 4 }
const MEDIUM = { mb: 16 }
const LARGE = { mb: 64 }
const TYPES = [SMALL, MEDIUM, LARGE]

describe('sharedBudget()', () => {
  const available = sharedBudget<typeof SMALL>(256, (type) => type.mb)
  const left = (...types: readonly (typeof SMALL)[]) =>
    TYPES.map((type) =>
      available(
        type,
        types.map((each) => ({ type: each })),
      ),
    )

  test('lets one big type use up several small ones, as mbochs does (T 1.14)', () => {
    assert.deepEqual(left(), [64, 16, 4])
    assert.deepEqual(left(SMALL), [63, 15, 3])
    assert.deepEqual(left(SMALL, LARGE), [47, 11, 2])
    assert.deepEqual(left(SMALL, LARGE, LARGE), [31, 7, 1])
    assert.deepEqual(left(SMALL, LARGE, LARGE, LARGE), [15, 3, 0])
    assert.deepEqual(left(SMALL, LARGE, LARGE, LARGE, MEDIUM), [11, 2, 0])
  })
})

describe('perType()', () => {
  test('counts each type by itself', () => {
    const available = perType<typeof SMALL>((type) => 128 / type.mb)
    const mdevs = [SMALL, SMALL, LARGE].map((type) => ({ type }))
    assert.deepEqual(
      TYPES.map((type) => available(type, mdevs)),
      [30, 8, 1],
    )
  })
})

describe('homogeneous()', () => {
  test('lets the first mdev fix the type, and the others drop to 0 until the last is gone', () => {
    const available = homogeneous<typeof SMALL>((type) => 128 / type.mb)
    const left = (...types: readonly (typeof SMALL)[]) =>
      TYPES.map((type) =>
        available(
          type,
          types.map((each) => ({ type: each })),
        ),
      )
    assert.deepEqual(left(), [32, 8, 2])
    assert.deepEqual(left(LARGE), [0, 0, 1])
    assert.deepEqual(left(LARGE, LARGE), [0, 0, 0])
    assert.deepEqual(left(MEDIUM), [0, 7, 0])
  })
})

describe('Driver.maxInstances', () => {
  const types = { vga: {}, xga: {}, hd: {} }
  const shown = (bench: Bench) => bench.parent.types.map((type) => type.availableInstances)

  test('is one count for all types; at 0 a creation is EUSERS, after EEXIST (T 1.13)', async () => {
    const bench = new Bench(driverOf({ types, maxInstances: 4 }))
    const { parent } = bench
    assert.deepEqual(shown(bench), [4, 4, 4])
    await parent.create('test-vga', uuid(1))
    assert.deepEqual(shown(bench), [3, 3, 3])
    await parent.create('test-xga', uuid(2))
    await parent.create('test-hd', uuid(3))
    await parent.create('test-hd', uuid(4))
    assert.deepEqual(shown(bench), [0, 0, 0])
    await assert.rejects(parent.create('test-vga', uuid(5)), { code: 'EUSERS', errno: 87 })
    await assert.rejects(parent.create('test-vga', uuid(1)), { code: 'EEXIST' })
    await parent.remove(uuid(2))
    assert.deepEqual(shown(bench), [1, 1, 1])
    await parent.create('test-vga', uuid(5))
    assert.deepEqual(shown(bench), [0, 0, 0])
  })

  test('of 0 means that nothing can ever be created (T 1.13)', async () => {
    const { parent } = new Bench(driverOf({ maxInstances: 0 }))
    await assert.rejects(parent.create('test-1', uuid(1)), { code: 'EUSERS' })
  })

  test('wins over ENODEV where none is left, a count of the driver does not (mdev.md 1.3)', async () => {
    const counted = new Bench(driverOf({ maxInstances: 0 }))
    await counted.parent.unregister()
    await assert.rejects(counted.parent.create('test-1', uuid(1)), { code: 'EUSERS' })
    const counting = new Bench(driverOf({ available: () => 0 }))
    await counting.parent.unregister()
    await assert.rejects(counting.parent.create('test-1', uuid(1)), { code: 'ENODEV' })
  })

  test('lets exactly as many of concurrent creators through as fit (T 3.7)', async () => {
    const { parent } = new Bench(driverOf({ maxInstances: 2 }))
    const creators = Array.from({ length: 16 }, (_, i) => parent.create('test-1', uuid(i)))
    const results = await Promise.allSettled(creators)
    const codes = results.map((result) =>
      result.status === 'fulfilled' ? 'created' : String(result.reason.code),
    )
    assert.equal(codes.filter((code) => code === 'created').length, 2)
    assert.equal(codes.filter((code) => code === 'EUSERS').length, 14)
  })
})
