import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allOf } from '../../src/lib/all-of.ts'

test('allOf() ends when the last part has, with the first error in their order', async () => {
  const ended: string[] = []
  const part = async (name: string, turns: number, fails: boolean) => {
    for (let i = 0; i < turns; i++) await Promise.resolve()
    ended.push(name)
    if (fails) throw new Error(name)
  }
  await assert.rejects(
    allOf([part('slow', 9, false), part('late', 5, true), part('early', 1, true)]),
    {
      message: 'late',
    },
  )
  assert.deepEqual(ended, ['early', 'late', 'slow'])
  await allOf([part('fine', 1, false)])
  await allOf([])
})
