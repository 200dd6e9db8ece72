/** Numbers as messages show them. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bytes, hex, parseBytes } from '../../src/lib/format.ts'

test('hex() shows numbers and bigints in lower case, with 0x', () => {
  assert.equal(hex(0), '0x0')
  assert.equal(hex(0xfffc0000), '0xfffc0000')
  assert.equal(hex(2 ** 53 - 1), '0x1fffffffffffff')
  assert.equal(hex(0xffff_ffff_ffff_ffffn), '0xffffffffffffffff')
})

const SIZES: readonly (readonly [number, string])[] = [
  [0, '0 B'],
  [1, '1 B'],
  [1023, '1023 B'],
  [1024, '1 KiB'],
  [1536, '1.5 KiB'],
  [4096, '4 KiB'],
  [0x20000000, '512 MiB'],
  [2 ** 30, '1 GiB'],
  [2 ** 40, '1 TiB'],
  [2 ** 50, '1024 TiB'],
]

for (const [size, expected] of SIZES) {
  test(`bytes(${size}) is ${expected}`, () => assert.equal(bytes(size), expected))
}

test('bytes() shows no decimal that it has rounded away', () => {
  assert.equal(bytes(4097), '4.0 KiB') // not whole, so not shown as 4 KiB
})

test('parseBytes() takes sizes in binary units, and nothing else', () => {
  for (const [text, size] of [
    ['0', 0],
    ['4096', 4096],
    ['64K', 65_536],
    ['1.5M', 1_572_864],
    ['2G', 2 ** 31],
    ['1T', 2 ** 40],
  ] as const) {
    assert.equal(parseBytes(text), size, text)
  }
  for (const text of [
    '',
    'M',
    '-1',
    '1m',
    '1 M',
    '1MB',
    '1.',
    '.5M',
    '0.3K',
    '9007199254740992',
    'Infinity',
  ]) {
    assert.equal(parseBytes(text), undefined, text)
  }
})
