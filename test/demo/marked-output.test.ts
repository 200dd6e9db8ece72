/** Marks are found in any pieces, and all else passes byte for byte. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { array, assert as check, constantFrom, integer, property, uint8Array } from 'fast-check'
import { freshMark, MarkedOutput, printMark } from '../../demo/marked-output.ts'

const MARK = '0123456789abcdef'
const mark = (number: number) => Buffer.from(`\u0003${MARK}:${number};`)

/** What passes, and which marks were found where, when this is written in pieces. */
function passed(pieces: readonly Uint8Array[]) {
  const found: (readonly [at: number, number: number])[] = []
  let text = Buffer.alloc(0)
  const output = new MarkedOutput(MARK, (number) => {
    drain()
    found.push([text.length, number])
  })
  const drain = () => {
    for (let chunk; (chunk = output.read() as Buffer | null) !== null;) {
      text = Buffer.concat([text, chunk])
    }
  }
  for (const piece of pieces) output.write(piece)
  output.end()
  drain()
  return { text: text.toString('latin1'), found }
}

test('MarkedOutput takes marks out, wherever they are cut', () => {
  const whole = Buffer.concat([Buffer.from('a\u0003'), mark(0), Buffer.from('b'), mark(127)])
  for (let first = 0; first <= whole.length; first++) {
    for (let second = first; second <= whole.length; second++) {
      const pieces = [
        whole.subarray(0, first),
        whole.subarray(first, second),
        whole.subarray(second),
      ]
      assert.deepEqual(passed(pieces), {
        text: 'a\u0003b',
        found: [
          [2, 0],
          [3, 127],
        ],
      })
    }
  }
})

test('MarkedOutput passes what only begins as a mark does', () => {
  for (const text of [
    '\u0003',
    `\u0003${MARK}`,
    `\u0003${MARK}:`,
    `\u0003${MARK}:x;`,
    `\u0003${MARK}:12x`,
    `\u0003${MARK}:12345678901;`,
    `\u0003${freshMark()}:1;`,
    `\u0003\u0003${MARK.slice(1)}:1;`,
  ]) {
    const bytes = text.split('').map((char) => Buffer.from(char))
    assert.deepEqual(passed([Buffer.from(text)]), { text, found: [] })
    assert.deepEqual(passed(bytes), { text, found: [] })
  }
})

test('MarkedOutput holds nothing back that no mark can begin with', () => {
  const output = new MarkedOutput(MARK, () => {})
  output.write('guest:~# ')
  assert.equal(String(output.read()), 'guest:~# ')
})

test('MarkedOutput passes any bytes with marks between them, in any pieces', () => {
  const pieces = array(
    constantFrom('\u0003', `\u0003${MARK.slice(0, 8)}`, MARK, ':', '1;', 'text').map((text) =>
      Buffer.from(text),
    ),
    { maxLength: 20 },
  )
  check(
    property(
      pieces,
      uint8Array({ maxLength: 40 }),
      integer({ min: 1, max: 9 }),
      (some, any, length) => {
        const whole = Buffer.concat([...some, mark(3), any])
        const cut = Array.from({ length: Math.ceil(whole.length / length) }, (_, index) =>
          whole.subarray(index * length, (index + 1) * length),
        )
        assert.deepEqual(passed(cut), passed([whole]))
        const { text, found } = passed([whole])
        assert.ok(found.some(([, number]) => number === 3))
        const marks = found.reduce((sum, [, number]) => sum + mark(number).length, 0)
        assert.equal(text.length + marks, whole.length)
      },
    ),
    { numRuns: 200 },
  )
})

test('printMark() is a command that prints one', () => {
  const command = printMark(MARK, '$number')
  const output = execFileSync('/bin/sh', ['-c', `number=42; ${command}`])
  assert.deepEqual(passed([output]), { text: '', found: [[0, 42]] })
})
