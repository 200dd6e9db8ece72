import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SpinPolicy } from '../../src/os/spin-policy.ts'

// Numbers as in the header of spin-policy.ts: 100 us to begin with, 30 us a gain, 200 us at most, 50 us a loss at most.

/** On a thread that never has to give up its processor. */
const undisturbed = () => new SpinPolicy(() => 0)

/** Of the next `count` chances, the numbers of those that are taken. */
function taken(policy: SpinPolicy, count: number): number[] {
  return Array.from({ length: count }, (_, i) => (policy.shouldSpin() ? [i + 1] : [])).flat()
}

/** How many losses of `us` it takes to turn polling off. */
function lossesUntilOff(policy: SpinPolicy, us: number): number {
  let losses = 0
  while (taken(policy, 2).length === 2) {
    policy.lose(us)
    losses++
  }
  return losses
}

test('SpinPolicy polls at first, and until two losses of 50 us', () => {
  assert.equal(lossesUntilOff(undisturbed(), 50), 2)
  assert.equal(lossesUntilOff(undisturbed(), 25), 4)
})

test('a loss counts 50 us at most, however long it took', () => {
  assert.equal(lossesUntilOff(undisturbed(), 10_000), 2)
})

test('SpinPolicy goes on while gains outweigh losses', () => {
  const policy = undisturbed()
  for (let i = 0; i < 1000; i++) {
    policy.gain()
    policy.gain()
    assert.equal(policy.shouldSpin(), true)
    policy.lose(50)
    assert.equal(policy.shouldSpin(), true)
  }
})

test('SpinPolicy stops when losses outweigh gains', () => {
  const policy = undisturbed()
  let rounds = 0
  for (; taken(policy, 2).length === 2; rounds++) {
    policy.gain()
    policy.lose(50)
  }
  assert.equal(rounds, 5) // 100 - 5 * 20
})

test('a long run of gains is forgotten within four losses', () => {
  const policy = undisturbed()
  for (let i = 0; i < 1000; i++) policy.gain()
  assert.equal(lossesUntilOff(policy, 50), 4)
})

test('while off, one chance in 16 is taken; half as many after each loss, one in 256 at least', () => {
  const policy = undisturbed()
  policy.lose(50)
  policy.lose(50)
  for (const interval of [16, 32, 64, 128, 256, 256, 256]) {
    assert.deepEqual(taken(policy, interval), [interval])
    policy.lose(50)
  }
})

test('a gain turns polling on again, and the next tries start at one in 16', () => {
  const policy = undisturbed()
  policy.lose(50)
  policy.lose(50)
  assert.deepEqual(taken(policy, 16), [16])
  policy.lose(50)
  assert.deepEqual(taken(policy, 32), [32])
  policy.gain()
  assert.deepEqual(taken(policy, 3), [1, 2, 3])
  policy.lose(50) // 30 us is what one gain is worth, whatever was lost before
  assert.deepEqual(taken(policy, 16), [16])
})

test('of 16 gains more than eight stolen by the scheduler turn polling off', () => {
  let preempted = 0
  const policy = new SpinPolicy(() => preempted)
  for (let i = 1; i <= 16; i++) {
    assert.equal(policy.shouldSpin(), true)
    preempted = Math.min(i, 8)
    policy.gain(40)
  }
  assert.equal(policy.shouldSpin(), true, 'eight are not more than half')
  for (let i = 1; i <= 16; i++) {
    preempted++
    policy.gain(40)
  }
  assert.equal(policy.shouldSpin(), false)
})

test('a probe whose gain was stolen does not turn polling on, and the next comes later', () => {
  let preempted = 0
  const policy = new SpinPolicy(() => preempted)
  policy.lose(50)
  policy.lose(50)
  assert.deepEqual(taken(policy, 16), [16])
  preempted++
  policy.gain(40)
  assert.deepEqual(taken(policy, 32), [32])
  policy.gain(40)
  assert.equal(policy.shouldSpin(), true)
})
