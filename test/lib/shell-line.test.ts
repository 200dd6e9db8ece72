import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { shellLine, shellQuote } from '../../src/lib/shell-line.ts'

test('shellQuote() leaves plain words and quotes all others', () => {
  assert.equal(shellQuote('-m=256M,x:y/z'), '-m=256M,x:y/z')
  assert.equal(shellQuote('{"a": "it\'s"}'), `'{"a": "it'\\''s"}'`)
  assert.equal(shellQuote(''), "''")
})

test('shellLine() is split by a real shell into the words it was made of', () => {
  const word = fc.string({ unit: 'grapheme' }).filter((text) => !text.includes('\0'))
  fc.assert(
    fc.property(fc.array(word, { minLength: 1, maxLength: 5 }), (words) => {
      const printed = execFileSync('sh', ['-c', String.raw`printf '%s\0' ${shellLine(words)}`])
      assert.deepEqual(printed.toString().split('\0').slice(0, -1), words)
    }),
    { numRuns: 50 },
  )
})
