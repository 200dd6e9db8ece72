/** Shapes: what passes is what a JSON Schema validator of others lets pass, and what is wrong is said. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { Check } from 'typebox/value'
import { type Shape, type Static, Type } from '../../src/lib/shape.ts'
import { faultOf, hasShape } from '../../src/lib/shape-fault.ts'

const EXACT = { additionalProperties: false } as const

const Card = Type.Object({
  name: Type.String({ minLength: 1, pattern: '^[a-z]+$' }),
  state: Type.Union([Type.Literal('on'), Type.Literal('off')]),
  pair: Type.Array(Type.String(), { minItems: 2, maxItems: 2 }),
  port: Type.Optional(Type.Integer({ minimum: 0, maximum: 3 })),
  inner: Type.Optional(Type.Object({ ok: Type.Boolean() }, EXACT)),
  others: Type.Optional(Type.Record(Type.String(), Type.Integer())),
  named: Type.Optional(Type.Record(Type.String({ pattern: '^x' }), Type.Null(), EXACT)),
})
const GOOD: Static<typeof Card> = { name: 'a', state: 'on', pair: ['b', 'c'] }

describe('faultOf()', () => {
  for (const [what, wrong, path, why] of [
    ['no object', [], '', 'must be object'],
    ['null', null, '', 'must be object'],
    ['nothing of what is required', {}, '', 'must have required properties name, state, pair'],
    ['a property of another type', { ...GOOD, name: 1 }, 'name', 'must be string'],
    ['too short a string', { ...GOOD, name: '' }, 'name', 'must not have fewer than 1 characters'],
    ['another pattern', { ...GOOD, name: 'A' }, 'name', 'must match pattern "^[a-z]+$"'],
    ['none of several', { ...GOOD, state: 'up' }, 'state', 'must be "on" or "off"'],
    ['none of several, nor their type', { ...GOOD, state: 1 }, 'state', 'must be string'],
    ['too few items', { ...GOOD, pair: ['a'] }, 'pair', 'must not have fewer than 2 items'],
    ['too many', { ...GOOD, pair: ['a', 'b', 'c'] }, 'pair', 'must not have more than 2 items'],
    ['an item of another type', { ...GOOD, pair: ['a', 2] }, 'pair/1', 'must be string'],
    ['no integer', { ...GOOD, port: 1.5 }, 'port', 'must be integer'],
    ['too little', { ...GOOD, port: -1 }, 'port', 'must be >= 0'],
    ['too much', { ...GOOD, port: 4 }, 'port', 'must be <= 3'],
    ['a key too many', { ...GOOD, inner: { ok: true, no: 1 } }, 'inner/no', 'not known here'],
    ['a value of a record', { ...GOOD, others: { a: 1, b: 'c' } }, 'others/b', 'must be integer'],
    ['any key of a record', { ...GOOD, others: { 'a\nb': 'c' } }, 'others/a\nb', 'must be integer'],
    [
      'a key that does not match',
      { ...GOOD, named: { x: null, y: 1 } },
      'named/y',
      'not known here',
    ],
  ] as const) {
    test(`says what is wrong with ${what}, and where`, () => {
      const fault = faultOf(Card, wrong)
      assert.deepEqual([fault?.path.join('/'), fault?.why], [path, why])
    })
  }

  test('knows own properties only', () => {
    const shape = Type.Object({ toString: Type.Integer() })
    assert.equal(faultOf(shape, {})?.why, 'must have required properties toString')
    const open = Type.Object({}, EXACT)
    assert.deepEqual(faultOf(open, JSON.parse('{"__proto__":1}'))?.path, ['__proto__'])
  })

  test('says of one of several what is wrong inside it', () => {
    const shape = Type.Union([Type.Literal('everyone'), Type.Array(Type.Integer())])
    assert.deepEqual(faultOf(shape, [1, 'x']), { path: ['1'], why: 'must be integer' })
    assert.deepEqual(faultOf(shape, 1), { path: [], why: 'must be string or array' })
  })

  test('takes undefined for what may be absent, and for nothing else', () => {
    assert.equal(faultOf(Card, { ...GOOD, port: undefined }), undefined)
    assert.equal(faultOf(Card, { ...GOOD, name: undefined })?.why, 'must be string')
  })
})

const key = fc.constantFrom('a', 'b', 'x1', 'y') // typebox looks at what objects inherit, too
const { shape: shapes } = fc.letrec<{ shape: Shape }>((tie) => ({
  shape: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    fc.constantFrom<Shape>(
      Type.String(),
      Type.String({ minLength: 2 }),
      Type.String({ pattern: '^x' }),
      Type.Integer(),
      Type.Integer({ minimum: 0, maximum: 5 }),
      Type.Boolean(),
      Type.Null(),
      Type.Unknown(),
      Type.Literal('a'),
    ),
    tie('shape').map((items) => Type.Array(items, { minItems: 1, maxItems: 2 })),
    fc
      .tuple(fc.dictionary(key, fc.tuple(tie('shape'), fc.boolean())), fc.boolean())
      .map(([properties, isExact]) => {
        const entries = Object.entries(properties).map(([name, [shape, isOptional]]) => [
          name,
          isOptional ? Type.Optional(shape) : shape,
        ])
        return Type.Object(
          Object.fromEntries(entries) as Record<string, Shape>,
          isExact ? EXACT : {},
        )
      }),
    fc
      .tuple(tie('shape'), fc.boolean())
      .map(([value, isAny]) =>
        Type.Record(isAny ? Type.String() : Type.String({ pattern: '^[ab]' }), value),
      ),
    fc.array(tie('shape'), { minLength: 1, maxLength: 3 }).map((some) => Type.Union(some)),
  ),
}))
const values = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom('', 'a', 'x1', 0, 3, 7, 1.5, true, null),
    fc.array(tie('value'), { maxLength: 3 }),
    fc.dictionary(key, tie('value')),
  ),
})).value

test('hasShape() lets pass what typebox does', () => {
  fc.assert(
    fc.property(shapes, values, (shape, value) => {
      assert.equal(hasShape(shape, value), Check(shape, value))
    }),
    { numRuns: 3000 },
  )
})

test('shapes are JSON Schemas', () => {
  assert.deepEqual(JSON.parse(JSON.stringify(Card.properties?.['inner'])), {
    type: 'object',
    required: ['ok'],
    properties: { ok: { type: 'boolean' } },
    additionalProperties: false,
  })
  assert.equal(Card.required?.includes('inner'), false)
})
