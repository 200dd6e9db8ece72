import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Throttle } from '../../../drivers/nvme/throttle.ts'
import { FakeClock } from '../../support/fake-clock.ts'

/** Asks for `count` requests at once, and logs what begins and when. */
function setup(limits: { bandwidth: number; iops: number }) {
  const clock = new FakeClock()
  const begun: number[] = []
  const given: number[] = []
  let batches = 0
  const throttle = new Throttle(clock, limits, () => batches++)
  return {
    clock,
    begun,
    given,
    throttle,
    batches: () => batches,
    ask: (count: number, bytes: number, wanted: (i: number) => boolean = () => true) => {
      for (let i = 0; i < count; i++) {
        throttle.run({
          bytes,
          begin: () => begun.push(clock.now()),
          giveUp: () => given.push(i),
          isWanted: () => wanted(i),
        })
      }
    },
  }
}

test('Throttle lets IOPS begin at their rate, after a burst of a tenth of a second', () => {
  const { clock, begun, ask } = setup({ bandwidth: 0, iops: 100 })
  ask(250, 4096)
  assert.equal(begun.length, 10)
  clock.advance(1000)
  assert.ok(begun.length >= 109 && begun.length <= 111, `${begun.length} in a second`)
  clock.advance(1500)
  assert.equal(begun.length, 250)
  assert.equal(clock.running, 0)
})

test('Throttle counts bytes, and a request larger than the burst begins nevertheless', () => {
  const { clock, begun, ask } = setup({ bandwidth: 2 ** 20, iops: 0 })
  ask(4, 2 ** 20) // a second's worth each
  assert.deepEqual(begun, [0])
  clock.advance(880)
  assert.equal(begun.length, 1)
  clock.advance(40) // the burst of 100 ms was there already
  assert.equal(begun.length, 2)
  clock.advance(2100)
  assert.equal(begun.length, 4)
})

test('Throttle changes its limits for those that wait', () => {
  const { clock, begun, ask, throttle, batches } = setup({ bandwidth: 0, iops: 1 })
  ask(1000, 512)
  assert.equal(begun.length, 1)
  throttle.limit({ bandwidth: 0, iops: 1000 })
  clock.advance(500)
  assert.ok(begun.length > 400 && begun.length < 650, `${begun.length} begun`)
  throttle.limit({ bandwidth: 0, iops: 0 })
  assert.equal(begun.length, 1000)
  assert.equal(throttle.isActive, false)
  assert.equal(clock.running, 0)
  assert.ok(batches() > 0)
})

test('Throttle does not save up more than a burst while idle', () => {
  const { clock, begun, ask } = setup({ bandwidth: 0, iops: 1000 })
  clock.advance(3_600_000)
  ask(1000, 512)
  assert.equal(begun.length, 100)
})

test('Throttle.cancel() gives up what waits, and nothing begins later', () => {
  const { clock, begun, given, ask, throttle } = setup({ bandwidth: 0, iops: 10 })
  ask(5, 512)
  throttle.cancel()
  assert.equal(begun.length, 1)
  assert.equal(given.length, 4)
  clock.advance(10_000)
  assert.equal(begun.length, 1)
  assert.equal(clock.running, 0)
})

test('Throttle.cancel() gives up those that are not wanted, and the others begin in their order', () => {
  const { clock, begun, given, ask, throttle } = setup({ bandwidth: 0, iops: 10 })
  ask(5, 512, (i) => i % 2 === 0)
  throttle.cancel((isWanted) => !isWanted())
  assert.deepEqual(given, [1, 3])
  clock.advance(10_000)
  assert.equal(begun.length, 3)
  assert.equal(clock.running, 0)
})
