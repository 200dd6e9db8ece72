/** Back-off: longer each time, up to a bound, and from the start again after a success. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BackOff } from '../../src/lib/back-off.ts'

test('BackOff doubles its wait with each failure, up to the longest, and begins anew after a success', () => {
  const backOff = new BackOff({ firstMs: 10, longestMs: 60 })
  const waits = Array.from({ length: 5 }, () => backOff.failed())
  assert.deepEqual(waits, [10, 20, 40, 60, 60])
  assert.equal(backOff.failures, 5)
  backOff.succeeded()
  assert.deepEqual([backOff.failures, backOff.failed()], [0, 10])
})

test('BackOff stays at its longest, however often it fails', () => {
  const backOff = new BackOff({ firstMs: 1, longestMs: 5 })
  for (let i = 0; i < 2000; i++) backOff.failed()
  assert.equal(backOff.failed(), 5)
})
