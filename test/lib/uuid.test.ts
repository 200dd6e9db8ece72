/** UUIDs: what the kernel takes in `create` is taken, byte 37 excepted, which is not part of a UUID. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { freshUuid, parseUuid } from '../../src/lib/uuid.ts'

const UUID = '83c32df7-d52e-4ec1-9668-1f3c7e4df107'

/** From the reference of mdev, section 1.3. */
const ACCEPTED = {
  [UUID]: UUID,
  '83C32DF7-D52E-4EC1-9668-1F3C7E4DF107': UUID,
  '83c32df7-D52E-4ec1-9668-1f3c7E4DF107': UUID,
  '00000000-0000-0000-0000-000000000000': '00000000-0000-0000-0000-000000000000', // nil
  'ffffffff-ffff-ffff-ffff-ffffffffffff': 'ffffffff-ffff-ffff-ffff-ffffffffffff', // no known version
}

const REFUSED = {
  nothing: '',
  'one byte less': UUID.slice(0, 35),
  'one byte more': `${UUID}0`,
  'a newline at the end': `${UUID}\n`,
  'a carriage return and a newline': `${UUID}\r\n`,
  'a NUL at the end': `${UUID}\0`,
  'a blank in front': ` ${UUID}`,
  'a blank in front, in 36 bytes': ` ${UUID.slice(0, 35)}`,
  braces: `{${UUID}}`,
  'braces, in 36 bytes': `{${UUID.slice(0, 35)}`,
  'urn:uuid:': `urn:uuid:${UUID}`,
  'no hyphens': UUID.replaceAll('-', ''),
  'no hyphens, padded to 36': UUID.replaceAll('-', '').padEnd(36, '0'),
  underscores: UUID.replaceAll('-', '_'),
  'a hyphen in another place': '83c32df-7d52e-4ec1-9668-1f3c7e4df107',
  'a digit that is not hexadecimal': UUID.replace('8', 'g'),
  'a digit of another script': UUID.replace('8', '٨'),
  'two lines': `${UUID}\n${UUID}`,
  'a path': `../${UUID}`,
}

describe('parseUuid()', () => {
  for (const [text, expected] of Object.entries(ACCEPTED)) {
    test(`takes ${text}`, () => assert.equal(parseUuid(text), expected))
  }

  for (const [what, text] of Object.entries(REFUSED)) {
    test(`refuses ${what} with EINVAL`, () => {
      assert.throws(() => parseUuid(text), { code: 'EINVAL', errno: 22 })
    })
  }

  test('takes every hyphenated uuid, whatever its version', () => {
    const digits = (length: number) =>
      fc.string({
        unit: fc.constantFrom(...'0123456789abcdefABCDEF'.split('')),
        minLength: length,
        maxLength: length,
      })
    const uuids = fc.tuple(digits(8), digits(4), digits(4), digits(4), digits(12))
    fc.assert(
      fc.property(uuids, (parts) => {
        const text = parts.join('-')
        assert.equal(parseUuid(text), text.toLowerCase())
      }),
    )
  })

  test('quotes what it refuses, so that it is seen whole on one line', () => {
    assert.throws(() => parseUuid('a\nb'), { message: /^"a\\nb" is no uuid/ })
  })
})

test('freshUuid() is a random uuid of version 4, another each time', () => {
  const uuids = Array.from({ length: 100 }, freshUuid)
  for (const uuid of uuids) {
    assert.match(uuid, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    assert.equal(parseUuid(uuid), uuid)
  }
  assert.equal(new Set(uuids).size, 100)
})
