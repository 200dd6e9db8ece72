/** MSI loses what nobody listens to, MSI-X keeps it pending. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MsiIrq } from '../../src/device/msi.ts'
import { FakeSignal, MSI, MSIX } from './support.ts'

describe('MsiIrq', () => {
  for (const index of [MSI, MSIX]) {
    test(`irq index ${index} sends once a trigger, without masking itself`, () => {
      const irq = new MsiIrq(index, 2)
      const [first, second] = [new FakeSignal(), new FakeSignal()]
      irq.assign(0, [first, second])
      irq.vectors[0]?.trigger()
      irq.vectors[0]?.trigger()
      irq.vectors[1]?.trigger()
      assert.deepEqual([first.fired, second.fired], [2, 1])
      assert.deepEqual([irq.flags, irq.count, irq.vectors.length], [1, 2, 2]) // EVENTFD alone
      assert.equal(irq.isPending(0), false)
    })
  }

  test('MSI without a signal loses the message', () => {
    const irq = new MsiIrq(MSI, 1)
    irq.vectors[0]?.trigger()
    assert.equal(irq.isPending(0), false)
    const signal = new FakeSignal()
    irq.assign(0, [signal])
    assert.equal(signal.fired, 0)
  })

  // PCI 3.0, 6.8.3.5: however often a vector is triggered while it cannot be sent, one message follows
  test('MSI-X without a signal is pending, and fires once when it is assigned one', () => {
    const irq = new MsiIrq(MSIX, 3)
    irq.vectors[1]?.trigger()
    irq.vectors[1]?.trigger()
    assert.deepEqual(
      [0, 1, 2].map((vector) => irq.isPending(vector)),
      [false, true, false],
    )
    irq.assign(1, [undefined]) // as QEMU does when it enables MSI-X
    assert.equal(irq.isPending(1), true)
    const signals = [new FakeSignal(), new FakeSignal(), new FakeSignal()]
    irq.assign(0, signals)
    assert.deepEqual(
      signals.map(({ fired }) => fired),
      [0, 1, 0],
    )
    assert.equal(irq.isPending(1), false)
    irq.assign(1, [new FakeSignal()])
    assert.equal(irq.sent, 1)
  })

  test('MSI-X that was sent is not pending after disable()', () => {
    const irq = new MsiIrq(MSIX, 1)
    irq.assign(0, [new FakeSignal()])
    irq.vectors[0]?.trigger()
    irq.disable()
    assert.equal(irq.isPending(0), false)
  })

  test('reset() forgets what is pending and keeps signals', () => {
    const irq = new MsiIrq(MSIX, 2)
    const kept = new FakeSignal()
    irq.assign(0, [kept])
    irq.vectors[1]?.trigger()
    irq.reset()
    const signal = new FakeSignal()
    irq.assign(1, [signal])
    assert.equal(signal.fired, 0)
    irq.vectors[0]?.trigger()
    assert.deepEqual([kept.fired, kept.closed], [1, 0])
  })
})
