/** Irq indexes: who owns signals, which vectors there are, what may be masked. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { EdgeIrq } from '../../src/device/irq.ts'
import { IntxIrq } from '../../src/device/intx.ts'
import { MsiIrq } from '../../src/device/msi.ts'
import { ERR, FakeSignal, MSI, MSIX } from './support.ts'

function assigned(irq: MsiIrq | EdgeIrq, start: number, count: number): FakeSignal[] {
  const signals = Array.from({ length: count }, () => new FakeSignal())
  irq.assign(start, signals)
  return signals
}

describe('IrqIndex.assign()', () => {
  test('replaces signals, closes the old ones once, and leaves other vectors alone', () => {
    const irq = new MsiIrq(MSIX, 4)
    const old = assigned(irq, 0, 4)
    const fresh = assigned(irq, 1, 2)
    assert.deepEqual(
      old.map(({ closed }) => closed),
      [0, 1, 1, 0],
    )
    for (const vector of irq.vectors) vector.trigger()
    assert.deepEqual(
      [...old, ...fresh].map(({ fired }) => fired),
      [1, 0, 0, 1, 1, 1],
    )
    assert.equal(irq.sent, 4)
  })

  test('takes signals away where it is given none, also where there were none', () => {
    const irq = new MsiIrq(MSI, 2)
    const [first, second] = assigned(irq, 0, 2)
    irq.assign(0, [undefined])
    irq.assign(0, [undefined])
    assert.deepEqual([first?.closed, second?.closed], [1, 0])
    assert.equal(irq.enabled, true)
    irq.assign(1, [undefined])
    assert.equal(irq.enabled, false)
  })

  for (const { start, count } of [
    { start: 0, count: 3 },
    { start: 1, count: 2 },
    { start: 2, count: 1 },
    { start: 3, count: 0 },
    { start: 2 ** 32 - 1, count: 2 },
  ]) {
    test(`of ${count} from ${start} on, of 2 vectors, is EINVAL; it closes them and changes nothing`, () => {
      const irq = new MsiIrq(MSI, 2)
      const [first, second] = assigned(irq, 0, 2)
      const signals = Array.from({ length: count }, () => new FakeSignal())
      assert.throws(() => irq.assign(start, signals), { code: 'EINVAL', message: /^MSI: / })
      assert.ok(signals.every(({ closed }) => closed === 1))
      assert.deepEqual([first?.closed, second?.closed], [0, 0])
    })
  }
})

describe('IrqIndex.disable()', () => {
  test('closes every signal, and is idempotent', () => {
    const irq = new MsiIrq(MSI, 2)
    const signals = assigned(irq, 0, 2)
    irq.disable()
    irq.disable()
    assert.deepEqual(
      signals.map(({ closed }) => closed),
      [1, 1],
    )
    assert.equal(irq.enabled, false)
  })

  test('of an index without vectors does nothing', () => {
    new MsiIrq(MSI, 0).disable()
  })
})

describe('IrqIndex.loopback()', () => {
  test('sends the vectors asked for, as far as they have signals', () => {
    const irq = new MsiIrq(MSIX, 4)
    const [first, second] = assigned(irq, 1, 2)
    irq.loopback(0, 2)
    assert.deepEqual([first?.fired, second?.fired], [1, 0])
    assert.throws(() => irq.loopback(3, 2), { code: 'EINVAL' })
  })
})

describe('IrqIndex.mask() and unmask()', () => {
  // vfio-user reference 10.2: MASK and UNMASK of ERR and REQ are EINVAL
  for (const irq of [new EdgeIrq(ERR, 1, 1), new MsiIrq(MSI, 1), new MsiIrq(MSIX, 1)]) {
    test(`of ${irq.name} are EINVAL`, () => {
      assert.throws(() => irq.mask(0, 1), {
        code: 'EINVAL',
        message: `${irq.name}: cannot be masked`,
      })
      assert.throws(() => irq.unmask(0, 1), { code: 'EINVAL' })
    })
  }

  test('beyond the vectors are EINVAL', () => {
    for (const [start, count] of [
      [0, 2],
      [1, 1],
      [2, 0],
    ] as const) {
      assert.throws(() => new IntxIrq(1).mask(start, count), { code: 'EINVAL' })
      assert.throws(() => new IntxIrq(1).unmask(start, count), { code: 'EINVAL' })
    }
    assert.throws(() => new IntxIrq(0).mask(0, 1), { code: 'EINVAL' })
  })
})

describe('EdgeIrq', () => {
  test('sends to whoever listens and forgets otherwise', () => {
    const irq = new EdgeIrq(ERR, 1, 1)
    irq.trigger()
    const [signal] = assigned(irq, 0, 1)
    assert.equal(signal?.fired, 0)
    irq.trigger()
    irq.reset() // assignments stay
    irq.trigger()
    assert.equal(signal?.fired, 2)
    assert.equal(irq.sent, 2)
  })
})
