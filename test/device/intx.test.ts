/** INTx: a level with sources, which masks itself when it interrupts. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { IntxIrq } from '../../src/device/intx.ts'
import { FakeSignal } from './support.ts'

function connected() {
  const levels: boolean[] = []
  const irq = new IntxIrq(1, (asserted) => levels.push(asserted))
  const signal = new FakeSignal()
  irq.assign(0, [signal])
  return { irq, signal, levels }
}

describe('IntxIrq', () => {
  test('has the flags of an INTx that eventfds signal, maskable and automasked, and one vector', () => {
    // vfio-user reference 10.1: EVENTFD 1, MASKABLE 2, AUTOMASKED 4
    const { irq } = connected()
    assert.deepEqual([irq.index, irq.flags, irq.count, irq.name], [0, 7, 1, 'INTx'])
  })

  test('is asserted while any source is, and tells of changes of the pin only', () => {
    const { irq, levels } = connected()
    const [a, b] = [irq.source(), irq.source()]
    a.set(false)
    assert.deepEqual(levels, [])
    a.set(true)
    a.set(true)
    b.set(true)
    a.set(false)
    a.set(false)
    assert.equal(irq.asserted, true)
    assert.deepEqual(levels, [true])
    b.set(false)
    assert.equal(irq.asserted, false)
    assert.deepEqual(levels, [true, false])
  })

  test('masks itself when it interrupts: a second source, or a second assertion, waits for unmask()', () => {
    const { irq, signal } = connected()
    const [a, b] = [irq.source(), irq.source()]
    a.set(true)
    b.set(true)
    a.set(false)
    b.set(false)
    a.set(true)
    assert.equal(signal.fired, 1)
    irq.unmask(0, 1)
    assert.equal(signal.fired, 2)
  })

  test('unmask() fires again while the level is high, and not when it is low', () => {
    const { irq, signal } = connected()
    const line = irq.source()
    line.set(true)
    irq.unmask(0, 1)
    assert.equal(signal.fired, 2)
    line.set(false)
    irq.unmask(0, 1)
    assert.equal(signal.fired, 2)
    line.set(true)
    assert.equal(signal.fired, 3)
  })

  test('mask() holds back until unmask()', () => {
    const { irq, signal } = connected()
    const line = irq.source()
    irq.mask(0, 1)
    line.set(true)
    assert.equal(signal.fired, 0)
    irq.unmask(0, 1)
    assert.equal(signal.fired, 1)
  })

  test('that came and went while masked is forgotten', () => {
    const { irq, signal } = connected()
    const line = irq.source()
    irq.mask(0, 1)
    line.set(true)
    line.set(false)
    irq.unmask(0, 1)
    assert.equal(signal.fired, 0)
  })

  test('Interrupt Disable holds back without masking; clearing it fires while the level is high', () => {
    const { irq, signal } = connected()
    const line = irq.source()
    irq.disabledByCommand = true
    line.set(true)
    assert.equal(signal.fired, 0)
    irq.disabledByCommand = false
    assert.equal(signal.fired, 1)
    irq.disabledByCommand = true
    irq.disabledByCommand = false // masked by itself in the meantime
    assert.equal(signal.fired, 1)
  })

  test('assigning a signal while asserted fires it, and so does assigning another', () => {
    const irq = new IntxIrq(1)
    const line = irq.source()
    line.set(true)
    for (const signal of [new FakeSignal(), new FakeSignal()]) {
      irq.assign(0, [signal])
      assert.equal(signal.fired, 1)
    }
  })

  test('disable() then assign() starts unmasked', () => {
    const { irq, signal } = connected()
    const line = irq.source()
    line.set(true)
    irq.disable()
    assert.deepEqual([signal.fired, signal.closed], [1, 1])
    line.set(false)
    const next = new FakeSignal()
    irq.assign(0, [next])
    assert.equal(next.fired, 0)
    line.set(true)
    assert.equal(next.fired, 1)
  })

  test('asserted without a signal does not mask itself', () => {
    const irq = new IntxIrq(1)
    const line = irq.source()
    line.set(true)
    line.set(false)
    const signal = new FakeSignal()
    irq.assign(0, [signal])
    line.set(true)
    assert.equal(signal.fired, 1)
  })

  test('reset() ends Interrupt Disable and keeps mask and signal', () => {
    const { irq, signal } = connected()
    const line = irq.source()
    irq.disabledByCommand = true
    irq.mask(0, 1)
    line.set(true)
    irq.reset()
    assert.deepEqual([signal.fired, signal.closed], [0, 0])
    irq.unmask(0, 1)
    assert.equal(signal.fired, 1)
  })

  test('a line says whether the client listens to the pin', () => {
    const irq = new IntxIrq(1)
    const line = irq.source()
    assert.equal(line.connected, false)
    irq.assign(0, [new FakeSignal()])
    assert.equal(line.connected, true)
    irq.disable()
    assert.equal(line.connected, false)
  })
})
