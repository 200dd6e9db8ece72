/** Waiting by looking: that it ends, either way, and what it says. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { until } from '../support/until.ts'

test('until() returns what was looked for, once it is there', async () => {
  let count = 0
  const found = await until(() => {
    assert.ok(++count > 3, `${count} is too few`)
    return count
  })
  assert.equal(found, 4)
})

test('until() says at its end what it saw last', async () => {
  let count = 0
  const options = { patienceMs: 0 }
  await assert.rejects(
    until(() => assert.equal(++count, 0), undefined, options),
    {
      message: /^not within 0 ms: Expected values to be strictly equal:\n\n1 !== 0\n/,
    },
  )
  await assert.rejects(
    until(() => false, 'a word', options),
    {
      message: 'not within 0 ms: expected a word',
    },
  )
})

test('until() hands on at once what is no assertion', async () => {
  const fault = new TypeError('wrong')
  await assert.rejects(
    until(() => Promise.reject(fault)),
    fault,
  )
})
