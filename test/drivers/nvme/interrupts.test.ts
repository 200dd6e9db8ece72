/** Interrupts: one for many completions, later where the guest wants that, and the pin. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Interrupts } from '../../../drivers/nvme/interrupts.ts'
import { FakeClock } from '../../support/fake-clock.ts'

function bench() {
  const clock = new FakeClock()
  const sent: number[] = []
  const line = {
    asserted: false,
    connected: false,
    set: (on: boolean) => void (line.asserted = on),
  }
  const vectors = [0, 1, 2].map((vector) => ({ trigger: () => void sent.push(vector) }))
  const interrupts = new Interrupts(vectors, line, clock)
  const post = (vector: number, count: number) => {
    for (let i = 0; i < count; i++) interrupts.posted(vector, vector === 0)
    interrupts.flush()
  }
  return { clock, line, interrupts, post, sent: () => sent.splice(0) }
}

test('one interrupt tells of all completions of a batch', () => {
  const { interrupts, post, sent } = bench()
  post(1, 5)
  assert.deepEqual(sent(), [1])
  interrupts.flush()
  assert.deepEqual(sent(), [])
  interrupts.posted(2, false)
  interrupts.posted(1, false)
  interrupts.flush()
  assert.deepEqual(sent(), [2, 1])
})

test('coalesced, they wait for their number, or for the time to pass', () => {
  const { clock, interrupts, post, sent } = bench()
  interrupts.coalescing = { count: 4, time: 50 } // 5 ms
  post(1, 3)
  assert.deepEqual(sent(), [])
  post(1, 1)
  assert.deepEqual(sent(), [1])
  assert.equal(clock.running, 0)
  post(1, 1)
  clock.advance(4.9)
  assert.deepEqual(sent(), [])
  clock.advance(0.1)
  assert.deepEqual(sent(), [1])
  assert.equal(clock.running, 0)
})

test('neither the admin queue waits, nor a vector that is to wait for nothing', () => {
  const { interrupts, post, sent } = bench()
  interrupts.coalescing = { count: 4, time: 50 }
  interrupts.setImmediate(2, true)
  post(0, 1)
  post(2, 1)
  assert.deepEqual(sent(), [0, 2])
})

test('without a time, nothing waits', () => {
  const { clock, interrupts, post, sent } = bench()
  interrupts.coalescing = { count: 100, time: 0 }
  post(1, 1)
  assert.deepEqual(sent(), [1])
  assert.equal(clock.running, 0)
})

test('the pin is asserted until all is taken, but for vectors that are masked', () => {
  const { line, interrupts, post } = bench()
  post(1, 2)
  assert.equal(line.asserted, true)
  interrupts.mask = 0b010
  assert.equal(line.asserted, false)
  post(2, 1)
  assert.equal(line.asserted, true)
  interrupts.taken(2, 1)
  assert.equal(line.asserted, false)
  interrupts.mask = 0
  assert.equal(line.asserted, true)
  interrupts.taken(1, 2)
  assert.equal(line.asserted, false)
})

test('a reset calls off what waits, and forgets what was set', () => {
  const { clock, line, interrupts, post, sent } = bench()
  interrupts.coalescing = { count: 4, time: 50 }
  interrupts.setImmediate(2, true)
  interrupts.mask = 1
  post(1, 1)
  interrupts.reset()
  clock.advance(100)
  assert.deepEqual([sent(), clock.running, line.asserted], [[], 0, false])
  assert.deepEqual([interrupts.mask, interrupts.isImmediate(2)], [0, false])
  post(1, 1)
  assert.deepEqual(sent(), [1])
})
