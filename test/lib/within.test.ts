/** Waiting, but not for ever. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { unlessAborted, within } from '../../src/lib/within.ts'
import { deferred, ManualClock } from '../mdev/support.ts'

const late = () => new Error('late')

describe('within()', () => {
  test('is what the work comes to, and leaves no timer', async () => {
    const clock = new ManualClock()
    assert.equal(await within(clock, 5, late, async () => 'done'), 'done')
    const failing = within(clock, 5, late, async () => Promise.reject(new Error('failed')))
    await assert.rejects(failing, { message: 'failed' })
    assert.equal(clock.waits, 0)
  })

  test('tells the work when time is up', async () => {
    const clock = new ManualClock()
    const signals: AbortSignal[] = []
    const waiting = within(clock, 5, late, (signal) => {
      signals.push(signal)
      return new Promise(() => {})
    })
    assert.equal(clock.waits, 1)
    clock.expire()
    await assert.rejects(waiting, { message: 'late' })
    assert.equal(signals[0]?.aborted, true)
    assert.equal(clock.waits, 0)
  })

  test('ends when it is called off, before or meanwhile', async () => {
    const clock = new ManualClock()
    const outer = new AbortController()
    const { promise } = deferred<void>()
    const waiting = within(clock, 5, late, () => promise, outer.signal)
    outer.abort(new Error('off'))
    await assert.rejects(waiting, { message: 'off' })
    const never = within(clock, 5, late, () => promise, outer.signal)
    await assert.rejects(never, { message: 'off' })
    assert.equal(clock.waits, 0)
  })
})

describe('unlessAborted()', () => {
  test('is what comes first', async () => {
    const end = new AbortController()
    assert.equal(await unlessAborted(end.signal, Promise.resolve(1)), 1)
    const { promise } = deferred<void>()
    const waiting = unlessAborted(end.signal, promise)
    end.abort(new Error('off'))
    await assert.rejects(waiting, { message: 'off' })
    await assert.rejects(unlessAborted(end.signal, promise), { message: 'off' })
  })
})
