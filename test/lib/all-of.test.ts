import assert from 'node:assert/strict'
import { test } from 'node:test'
import { allOf, inParts } from '../../src/lib/all-of.ts'

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

test('inParts() is done where every part is, else a promise of the end of those that are not', async () => {
  assert.equal(
    inParts((part) => {
      for (let i = 0; i < 3; i++) part(undefined)
    }),
    undefined,
  )
  const ended: string[] = []
  const under = inParts((part) => {
    part(undefined)
    part(Promise.resolve().then(() => void ended.push('late')))
  })
  assert.deepEqual(ended, [])
  await under
  assert.deepEqual(ended, ['late'])
})

test('inParts() throws at once what stops it, unless a part is under way: then it rejects with that, once the part has ended', async () => {
  const refusal = new Error('a later part')
  assert.throws(
    () =>
      inParts((part) => {
        part(undefined)
        throw refusal
      }),
    refusal,
  )
  const under = inParts((part) => {
    part(Promise.reject(new Error('an earlier part')))
    throw refusal
  })
  await assert.rejects(async () => under, refusal)
})
