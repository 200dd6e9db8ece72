/** shareFresh(): one asking under way, one to come, and never an answer from before the question. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { shareFresh } from '../../src/lib/fresh.ts'

interface Asked {
  readonly resolve: (answer: number) => void
  readonly reject: (error: unknown) => void
}

/** Answers count up, each when it is told to. */
function counter() {
  const asked: Asked[] = []
  const ask = async () =>
    new Promise<number>((resolve, reject) => void asked.push({ resolve, reject }))
  return { asked, ask: shareFresh(ask) }
}

async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve))
}

test('shareFresh() asks once for the first, and once for all who come meanwhile', async () => {
  const { asked, ask } = counter()
  const first = ask()
  const others = Array.from({ length: 1000 }, () => ask())
  assert.equal(asked.length, 1)
  asked[0]!.resolve(1)
  assert.equal(await first, 1)
  await settle()
  assert.equal(asked.length, 2)
  const late = ask()
  asked[1]!.resolve(2)
  assert.deepEqual(new Set(await Promise.all(others)), new Set([2]))
  await settle()
  assert.equal(asked.length, 3)
  asked[2]!.resolve(3)
  assert.equal(await late, 3)
})

test('shareFresh() asks again after a failure, which only those who waited for it hear of', async () => {
  const { asked, ask } = counter()
  const first = ask()
  const second = ask()
  asked[0]!.reject(new Error('no'))
  await assert.rejects(first, /no/)
  await settle()
  asked[1]!.resolve(2)
  assert.equal(await second, 2)
  await settle()
  const third = ask()
  asked[2]!.resolve(3)
  assert.equal(await third, 3)
  assert.equal(asked.length, 3)
})
