import assert from 'node:assert/strict'
import { test } from 'node:test'
import { median, quantile, ratios, rotate, spread } from '../../bench/statistics.ts'

test('median() is the middle value, or the mean of the two in the middle', () => {
  assert.equal(median([9, 1, 5]), 5)
  assert.equal(median([4, 1, 3, 2]), 2.5)
  assert.equal(median([7]), 7)
  assert.ok(Number.isNaN(median([])))
})

test('quantile() interpolates between neighbours and leaves its input alone', () => {
  const values = [40, 10, 30, 20]
  assert.equal(quantile(values, 0), 10)
  assert.equal(quantile(values, 1), 40)
  assert.equal(quantile(values, 0.25), 17.5)
  assert.deepEqual(values, [40, 10, 30, 20])
})

test('spread() is the median between the quartiles', () => {
  assert.deepEqual(spread([1, 2, 3, 4, 5]), { median: 3, low: 2, high: 4 })
})

test('ratios() compares within a round, and leaves out rounds that lack one side', () => {
  const values = new Map([
    [0, 10],
    [1, 30],
    [2, 50],
  ])
  const references = new Map([
    [0, 20],
    [2, 10],
    [3, 7],
  ])
  assert.deepEqual(ratios(values, references), [0.5, 5])
  assert.deepEqual(ratios(values, new Map([[0, 0]])), [])
})

test('rotate() lets each go first in turn', () => {
  const servers = ['a', 'b', 'c']
  assert.deepEqual(
    [0, 1, 2, 3].map((round) => rotate(servers, round).join('')),
    ['abc', 'bca', 'cab', 'abc'],
  )
  assert.deepEqual(rotate([], 2), [])
})
