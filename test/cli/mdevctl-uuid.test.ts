/** UUIDs in the spellings that mdevctl takes, and what it says of others. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { uuidFault, uuidOf } from '../../src/cli/mdevctl-uuid.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
const DIGITS = UUID.replaceAll('-', '')

test('uuidOf() takes hyphens, none, braces and a URN, in either case (T 8.4)', () => {
  for (const text of [UUID, UUID.toUpperCase(), DIGITS, DIGITS.toUpperCase(), `{${UUID}}`]) {
    assert.equal(uuidOf(text), UUID, text)
  }
  assert.equal(uuidOf(`urn:uuid:${UUID}`), UUID)
})

test('uuidOf() takes nothing else', () => {
  for (const text of [
    '',
    'x',
    `{${DIGITS}}`,
    `urn:uuid:${DIGITS}`,
    `{${UUID}`,
    `${UUID}0`,
    ` ${UUID}`,
  ]) {
    assert.equal(uuidOf(text), undefined, text)
  }
})

/** The Rust crate uuid 1.x, src/error.rs; the first is in the transcript. */
const FAULTS: readonly (readonly [string, string])[] = [
  [
    'nonsense',
    'invalid character: expected an optional prefix of `urn:uuid:` followed by [0-9a-fA-F-], found `n` at 1',
  ],
  [
    '{12x}',
    'invalid character: expected an optional prefix of `urn:uuid:` followed by [0-9a-fA-F-], found `x` at 4',
  ],
  ['', 'invalid length: expected length 32 for simple format, found 0'],
  ['0123', 'invalid length: expected length 32 for simple format, found 4'],
  ['01-23', 'invalid group count: expected 5, found 2'],
  ['{0123}', 'invalid group count: expected 5, found 1'],
  ['83b8f4f2-509-382f-3c1e-e6bfe0fa1001', 'invalid group length in group 1: expected 4, found 3'],
  [`${UUID}0`, 'invalid group length in group 4: expected 12, found 13'],
]

for (const [text, fault] of FAULTS) {
  test(`uuidFault() of ${JSON.stringify(text)}`, () => {
    assert.equal(uuidOf(text), undefined)
    assert.equal(uuidFault(text), fault)
  })
}
