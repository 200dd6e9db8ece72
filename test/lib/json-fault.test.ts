/** Texts that are no JSON, and what mdevctl's parser says of them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { jsonFault } from '../../src/lib/json-fault.ts'

/** serde_json 1.0, src/error.rs and src/de.rs; the first three are in the transcript (8.12, 8.15). */
const FAULTS: readonly (readonly [string, string])[] = [
  ['', 'EOF while parsing a value at line 1 column 0'],
  ['nonsense', 'expected ident at line 1 column 2'],
  ['{\n', 'EOF while parsing an object at line 2 column 0'],
  ['x', 'expected value at line 1 column 1'],
  ['tru', 'EOF while parsing a value at line 1 column 3'],
  ['{"a"', 'EOF while parsing an object at line 1 column 4'],
  ['{"a" 1}', 'expected `:` at line 1 column 6'],
  ['{"a":}', 'expected value at line 1 column 6'],
  ['{"a":1 "b":2}', 'expected `,` or `}` at line 1 column 8'],
  ['{"a":1,}', 'trailing comma at line 1 column 8'],
  ['{"a":1,', 'EOF while parsing a value at line 1 column 7'],
  ['{a:1}', 'key must be a string at line 1 column 2'],
  ['[1 2]', 'expected `,` or `]` at line 1 column 4'],
  ['[1,]', 'trailing comma at line 1 column 4'],
  ['[1', 'EOF while parsing a list at line 1 column 2'],
  ['"a', 'EOF while parsing a string at line 1 column 2'],
  ['"a\n"', 'control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0'],
  ['"\\x"', 'invalid escape at line 1 column 3'],
  ['"\\u12g4"', 'invalid escape at line 1 column 7'],
  ['01', 'invalid number at line 1 column 2'],
  ['-x', 'invalid number at line 1 column 2'],
  ['1.', 'EOF while parsing a value at line 1 column 2'],
  ['1.x', 'invalid number at line 1 column 3'],
  ['1ex', 'invalid number at line 1 column 3'],
  ['{} {}', 'trailing characters at line 1 column 4'],
  ['{\n  "ü": x\n}', 'expected value at line 2 column 9'],
]

describe('jsonFault()', () => {
  for (const [text, fault] of FAULTS) {
    test(`of ${JSON.stringify(text)}: ${fault}`, () => assert.equal(jsonFault(text), fault))
  }

  test('finds something wrong where JSON.parse does, and nowhere else', () => {
    const nearlyJson = fc
      .tuple(fc.json(), fc.nat(), fc.constantFrom('', ',', '"', '}', ' ', '\\', '0', 'e', '\n'))
      .map(([json, at, text]) => {
        const cut = at % (json.length + 1)
        return json.slice(0, cut) + text + json.slice(cut + 1)
      })
    fc.assert(
      fc.property(nearlyJson, (text) => {
        assert.equal(jsonFault(text) === undefined, isJson(text), text)
      }),
    )
  })
})

function isJson(text: string): boolean {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}
