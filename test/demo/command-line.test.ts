/** A command line broken for people must stay the same command line for a shell. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import {
  array,
  assert as check,
  constantFrom,
  oneof,
  property,
  string,
  stringMatching,
} from 'fast-check'
import { breakCommandLine } from '../../demo/command-line.ts'
import { shellLine } from '../../src/lib/shell-line.ts'

/** The words that a shell makes of `line`. */
function wordsOf(line: string): string[] {
  const output = execFileSync('/bin/sh', ['-c', String.raw`printf '%s\0' ${line}`], {
    encoding: 'utf8',
  })
  return output.split('\0').slice(0, -1)
}

test('breakCommandLine() breaks before options, and keeps options and values together', () => {
  const path = `/${'x'.repeat(60)}`
  const line = shellLine(['program', '-a', path, '-b', 'it is', '-c', path])
  assert.equal(breakCommandLine(line), `program -a ${path} -b 'it is' \\\n  -c ${path}`)
})

test('breakCommandLine() leaves a shell with the same words', () => {
  const word = oneof(
    string({ minLength: 1, maxLength: 60 }).map((text) => text.replaceAll('\0', '')),
    stringMatching(/^-[a-z]{1,10}$/),
    constantFrom("it's", "'", '--a=" -b "', '\\', '\n', ' -x '),
  )
  check(
    property(array(word, { minLength: 1, maxLength: 20 }), (words) => {
      assert.deepEqual(wordsOf(breakCommandLine(shellLine(words))), words)
    }),
    { numRuns: 50 },
  )
})
