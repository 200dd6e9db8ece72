/** Undo steps: their order, what cancels them, and what an error among them does. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Unwind } from '../../src/lib/unwind.ts'

/** Three steps that note their number; the one given throws after that. */
function construct(done: number[], { fail = false, throwing = [] as number[] } = {}): void {
  using undo = new Unwind()
  for (const step of [1, 2, 3]) {
    undo.defer(() => {
      done.push(step)
      if (throwing.includes(step)) throw new Error(`step ${step}`)
    })
  }
  if (fail) throw new Error('construction')
  undo.keep()
}

describe('Unwind', () => {
  test('undoes newest first when the scope throws, and lets the error through', () => {
    const done: number[] = []
    assert.throws(() => construct(done, { fail: true }), { message: 'construction' })
    assert.deepEqual(done, [3, 2, 1])
  })

  test('undoes when the scope is left without keep()', () => {
    const done: string[] = []
    {
      using undo = new Unwind()
      undo.defer(() => done.push('undone'))
    }
    assert.deepEqual(done, ['undone'])
  })

  test('keep() forgets the steps', () => {
    const done: number[] = []
    construct(done)
    assert.deepEqual(done, [])
  })

  test('steps deferred after keep() are undone', () => {
    const done: number[] = []
    {
      using undo = new Unwind()
      undo.defer(() => done.push(1))
      undo.keep()
      undo.defer(() => done.push(2))
    }
    assert.deepEqual(done, [2])
  })

  test('runs every step even when some throw, and throws the first of their errors', () => {
    const done: number[] = []
    const undo = new Unwind()
    for (const step of [1, 2, 3]) {
      undo.defer(() => {
        done.push(step)
        if (step > 1) throw new Error(`step ${step}`)
      })
    }
    assert.throws(() => undo[Symbol.dispose](), { message: 'step 3' })
    assert.deepEqual(done, [3, 2, 1])
  })

  test('hides neither the error of the scope nor that of a step', () => {
    const done: number[] = []
    assert.throws(
      () => construct(done, { fail: true, throwing: [2] }),
      (thrown: { error?: Error; suppressed?: Error }) => {
        assert.equal(thrown.suppressed?.message, 'construction')
        assert.equal(thrown.error?.message, 'step 2')
        return true
      },
    )
    assert.deepEqual(done, [3, 2, 1])
  })

  test('undoes once, however often it is disposed of', () => {
    const done: number[] = []
    const undo = new Unwind()
    undo.defer(() => done.push(1))
    undo[Symbol.dispose]()
    undo[Symbol.dispose]()
    assert.deepEqual(done, [1])
  })

  test('with no steps does nothing', () => {
    new Unwind()[Symbol.dispose]()
  })
})
