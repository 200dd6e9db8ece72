import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseOptions } from '../../bench/options.ts'
import { PARTS } from '../../bench/parts.ts'

const KNOWN = ['reads', 'idle', 'heap']

test('parseOptions() measures all parts unless told which, in their own order', () => {
  assert.deepEqual(parseOptions([], KNOWN).parts, KNOWN)
  assert.deepEqual(parseOptions(['--only', 'heap', '--only', 'reads'], KNOWN).parts, [
    'reads',
    'heap',
  ])
})

test('parseOptions() refuses what makes no sense', () => {
  assert.throws(() => parseOptions(['--only', 'nothing'], KNOWN), {
    code: 'EINVAL',
    message: '--only nothing: no such part; there are reads, idle, heap',
  })
  for (const rounds of ['0', '1.5', 'many']) {
    assert.throws(() => parseOptions(['--rounds', rounds], KNOWN), { code: 'EINVAL' })
  }
  assert.throws(() => parseOptions(['--also', 'name'], KNOWN), { code: 'EINVAL' })
  assert.throws(() => parseOptions(['--unknown'], KNOWN), TypeError)
})

test('parseOptions() takes other builds by name', () => {
  assert.deepEqual(parseOptions(['--also', 'old=/a/b=c/host.js'], KNOWN).also, [
    { name: 'old', file: '/a/b=c/host.js' },
  ])
})

test('PARTS have names of their own that stand on a line with what they are about', () => {
  const names = PARTS.map(({ name }) => name)
  assert.equal(new Set(names).size, names.length)
  for (const { name, about } of PARTS) {
    assert.match(name, /^[a-z-]{1,12}$/)
    assert.match(about, /^[^\n]{10,110}$/)
  }
})
