/** Types: names that they had in earlier versions, and settings that only some of them have. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { integer, text } from '../../src/mdev/attribute.ts'
import { snapshotOfParent } from '../../src/mdev/state.ts'
import { Bench, driverOf, probeNothing, uuid } from './support.ts'

const A = uuid(0xa)
const description = 'for a test'

describe('TypeInfo.aliases', () => {
  const bench = () =>
    new Bench(driverOf({ types: { V5_4: { aliases: ['V4_4', 'V4_8'] }, V5_8: {} } }))

  test('have an mdev of an earlier type created as what it is now', async () => {
    const { parent } = bench()
    for (const [number, name] of ['test-V4_4', 'test-V4_8', 'test-V5_4'].entries())
      assert.equal((await parent.create(name, uuid(number))).typeName, 'test-V5_4')
  })

  test('are no types: they are not offered, but told', async () => {
    const { parent } = bench()
    assert.deepEqual(
      snapshotOfParent(parent).types.map(({ name, aliases }) => [name, aliases]),
      [
        ['test-V5_4', ['test-V4_4', 'test-V4_8']],
        ['test-V5_8', undefined],
      ],
    )
    await assert.rejects(parent.create('test-V4_2', A), {
      code: 'ENOENT',
      message: 'type test-V4_2: parent parent offers test-V5_4, test-V5_8',
    })
    for (const name of ['V5_4', 'V4_4', 'test-', 'test-toString', 'other-V4_4'])
      await assert.rejects(parent.create(name, A), { code: 'ENOENT' }, name)
  })
})

describe('TypeInfo.attributes', () => {
  const seen: unknown[] = []
  const bench = new Bench(
    driverOf({
      types: {
        plain: {},
        small: { attributes: { size: integer({ min: 1, max: 3, default: 2, description }) } },
        fixed: { attributes: { size: false, serial: false } },
        named: { attributes: { serial: text({ required: true, description }) } },
      },
      attributes: {
        size: integer({ min: 1, max: 9, default: 4, description }),
        serial: text({ default: 'none', description }),
      },
      probe(mdev) {
        seen.push(mdev.attributes)
        return probeNothing(mdev)
      },
    }),
  )

  for (const [type, texts, values, found] of [
    ['plain', [['size', '9']], { size: '9', serial: 'none' }, { size: 9, serial: 'none' }],
    ['small', [], { size: '2', serial: 'none' }, { size: 2, serial: 'none' }],
    ['fixed', [], {}, { size: 4, serial: 'none' }],
    ['named', [['serial', 'x']], { size: '4', serial: 'x' }, { size: 4, serial: 'x' }],
  ] as const) {
    test(`say what mdevs of type ${type} have, and what their driver finds`, async () => {
      const mdev = await bench.parent.create(`test-${type}`, A, texts)
      assert.deepEqual([mdev.values, seen.pop()], [values, found])
      await bench.parent.remove(A)
    })
  }

  for (const [type, texts, code] of [
    ['small', [['size', '4']], 'EINVAL'],
    ['fixed', [['size', '4']], 'ENOENT'],
    ['named', [], 'EINVAL'],
  ] as const) {
    test(`refuse with ${code} what an mdev of type ${type} cannot have`, async () => {
      await assert.rejects(bench.parent.create(`test-${type}`, A, texts), { code })
    })
  }

  test('are told of types that have others than all', () => {
    const { types, attributes } = snapshotOfParent(bench.parent)
    assert.deepEqual(
      attributes.map(({ name }) => name),
      ['size', 'serial'],
    )
    assert.deepEqual(
      types.map((type) => type.attributes?.map(({ name, default: value }) => [name, value])),
      [
        undefined,
        [
          ['size', '2'],
          ['serial', 'none'],
        ],
        [],
        [
          ['size', '4'],
          ['serial', undefined],
        ],
      ],
    )
  })
})
