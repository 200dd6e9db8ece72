import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allowedProcessors, parseProcessorList, pinned, processorsOf } from '../../bench/pinning.ts'

test('parseProcessorList() reads runs and single processors', () => {
  assert.deepEqual(parseProcessorList('0-2,8\n'), [0, 1, 2, 8])
  assert.deepEqual(parseProcessorList('5'), [5])
  assert.deepEqual(parseProcessorList(''), [])
})

test('allowedProcessors() finds at least the one we run on', () => {
  assert.ok(allowedProcessors().length > 0)
})

test('processorsOf() takes the first two allowed processors, and refuses split with one', () => {
  assert.deepEqual(processorsOf('split', [2, 3, 5]), { client: 2, server: 3 })
  assert.deepEqual(processorsOf('same', [2, 3]), { client: 2, server: 2 })
  assert.deepEqual(processorsOf('same', [4]), { client: 4, server: 4 })
  assert.throws(() => processorsOf('split', [4]), { code: 'ENODEV' })
})

test('pinned() starts the command under taskset', () => {
  assert.deepEqual(pinned(3, ['node', 'x.js']), ['taskset', '-c', '3', 'node', 'x.js'])
})
