/** Definitions: mdevctl's file format, byte for byte, as kernel-mdev-transcript.md 8.6 and 8.12 has it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { formatDefinition, parseDefinition } from '../../src/mdev/definition.ts'

describe('formatDefinition()', () => {
  test('writes what mdevctl writes (T 8.6, 8.10)', () => {
    assert.equal(
      formatDefinition({ type: 'mtty-1', start: 'manual', attributes: [] }),
      '{\n  "mdev_type": "mtty-1",\n  "start": "manual",\n  "attrs": []\n}',
    )
    const attributes = [
      ['assign', 'zero'],
      ['assign', '1'],
    ] as const
    assert.equal(
      formatDefinition({ type: 'mprobe-two', start: 'auto', attributes }),
      `{
  "mdev_type": "mprobe-two",
  "start": "auto",
  "attrs": [
    {
      "assign": "zero"
    },
    {
      "assign": "1"
    }
  ]
}`,
    )
  })

  test('keeps what others have written', () => {
    const text = '{"start":"auto","extra":{"a":[1,null]},"mdev_type":"x","attrs":[]}'
    const definition = parseDefinition(text)
    assert.deepEqual(definition.others, { extra: { a: [1, null] } })
    assert.deepEqual(JSON.parse(formatDefinition(definition)), JSON.parse(text))
  })
})

describe('parseDefinition()', () => {
  const parsed = { type: 'x', start: 'auto', attributes: [] }

  for (const [text, expected] of [
    ['{"mdev_type":"x","start":"auto"}', parsed],
    ['{"mdev_type":"x","start":"sometimes"}', { ...parsed, start: 'manual' }],
    ['{"mdev_type":"x","start":true}', { ...parsed, start: 'manual' }],
    ['{"mdev_type":"x","start":"auto","attrs":[]}', parsed],
    ['{"mdev_type":"x","start":"auto","attrs":null}', parsed],
    [
      '{"mdev_type":"x","start":"auto","attrs":[{"a":"1"},{"a":"2"}]}',
      {
        ...parsed,
        attributes: [
          ['a', '1'],
          ['a', '2'],
        ],
      },
    ],
  ] as const) {
    test(`takes ${text} (T 8.12)`, () => assert.deepEqual(parseDefinition(text), expected))
  }

  for (const [text, message] of [
    ['', /./],
    ['nonsense', /./],
    ['{', /./],
    ['[]', /^invalid json$/],
    ['null', /^invalid json$/],
    ['{}', /^invalid json$/],
    ['{"mdev_type":"x"}', /^invalid json$/],
    ['{"start":"auto"}', /^invalid json$/],
    ['{"mdev_type":5,"start":"auto"}', /mdev_type is no text/], // mdevctl panics
    ['{"mdev_type":"x","start":"auto","attrs":{}}', /^attributes field is not an array$/],
    ['{"mdev_type":"x","start":"auto","attrs":["a"]}', /for attribute: not an object$/],
    ['{"mdev_type":"x","start":"auto","attrs":[{}]}', /for attribute: too many fields$/],
    ['{"mdev_type":"x","start":"auto","attrs":[{"a":"1","b":"2"}]}', /too many fields$/],
    [
      '{"mdev_type":"x","start":"auto","attrs":[{"a":1}]}',
      /^invalid JSON format for attribute \{"a", 1\}: value must be of type str$/,
    ],
  ] as const) {
    test(`refuses ${JSON.stringify(text)} with EINVAL, in mdevctl's words (T 8.12)`, () => {
      assert.throws(() => parseDefinition(text), { code: 'EINVAL', message })
    })
  }

  test('returns a definition or throws EINVAL, whatever it reads', () => {
    const text = fc.oneof(
      fc.string(),
      fc.json(),
      fc
        .record({ mdev_type: fc.jsonValue(), start: fc.jsonValue(), attrs: fc.jsonValue() })
        .map((value) => JSON.stringify(value)),
    )
    fc.assert(
      fc.property(text, (input) => {
        try {
          parseDefinition(input)
        } catch (error) {
          assert.equal((error as { code?: string }).code, 'EINVAL')
        }
      }),
    )
  })

  test('reads back what it has written', () => {
    const definition = fc.record(
      {
        type: fc.string(),
        start: fc.constantFrom('auto' as const, 'manual' as const),
        attributes: fc.array(fc.tuple(fc.string(), fc.string())),
      },
      { noNullPrototype: true },
    )
    fc.assert(
      fc.property(definition, (given) => {
        assert.deepEqual(parseDefinition(formatDefinition(given)), given)
      }),
    )
  })
})
