/** The MSI-X table and its pending bits, as a client reads and writes their BAR. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MsiIrq } from '../../src/device/msi.ts'
import { MsixTable } from '../../src/device/msix-table.ts'
import { FakeSignal, MSIX } from './support.ts'

// PCI 3.0, 6.8.2: entries of 16 bytes, address, upper address, data, control; bit 0 of control masks
const ENTRY = 16
const CONTROL = 12

function table(count: number) {
  const irq = new MsiIrq(MSIX, count)
  return { irq, table: new MsixTable(irq) }
}

describe('MsixTable', () => {
  // vfio-user reference 16.3
  for (const { count, size, pba } of [
    { count: 1, size: 0x1000, pba: 0x800 },
    { count: 128, size: 0x1000, pba: 0x800 },
    { count: 129, size: 0x10000, pba: 0x8000 },
    { count: 2048, size: 0x10000, pba: 0x8000 },
  ]) {
    test(`of ${count} vectors takes ${size} bytes; table and pending bits fit and do not overlap`, () => {
      const { table: registers } = table(count)
      assert.deepEqual([registers.size, registers.pbaOffset], [size, pba])
      assert.ok(count * ENTRY <= pba)
      assert.ok(pba + Math.ceil(count / 64) * 8 <= size)
      assert.equal(pba % 8, 0)
    })
  }

  test('is masked and otherwise 0 at first and after reset()', () => {
    const { table: registers } = table(3)
    const all = () => Array.from({ length: 3 * 4 }, (_, i) => registers.read(4 * i, 4))
    const initial = [0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1]
    assert.deepEqual(all(), initial)
    for (let i = 0; i < 12; i++) registers.write(4 * i, 0xdead_beee, 4)
    assert.deepEqual(all(), Array(12).fill(0xdead_beee))
    registers.reset()
    assert.deepEqual(all(), initial)
  })

  test('keeps what is written to an entry, at every width', () => {
    const { table: registers } = table(2)
    registers.write(ENTRY, 0xfee0_1000, 4)
    registers.write(ENTRY + 4, 0x0001, 2)
    registers.write(ENTRY + 6, 0x8000, 2)
    registers.write(ENTRY + 8, 0x41, 1)
    registers.write(ENTRY + CONTROL, 0, 4)
    const words = [0, 4, 8, 12].map((at) => registers.read(ENTRY + at, 4))
    assert.deepEqual(words, [0xfee0_1000, 0x8000_0001, 0x41, 0])
    assert.equal(registers.read(CONTROL, 4), 1)
    assert.equal(registers.read(ENTRY + 3, 1), 0xfe)
    assert.equal(registers.read(ENTRY + 2, 2), 0xfee0)
  })

  test('shows pending vectors as bits, least significant first, which nobody can write', () => {
    const { irq, table: registers } = table(40)
    for (const vector of [0, 9, 31, 39]) irq.vectors[vector]?.trigger()
    const pba = registers.pbaOffset
    assert.equal(registers.read(pba, 4), 0x8000_0201)
    assert.equal(registers.read(pba + 4, 4), 0x80)
    assert.equal(registers.read(pba + 1, 1), 0x02)
    assert.equal(registers.read(pba + 2, 2), 0x8000)
    registers.write(pba, 0, 4)
    registers.write(pba + 4, 0xffff_ffff, 4)
    assert.equal(registers.read(pba, 4), 0x8000_0201)
    assert.equal(registers.read(pba + 4, 4), 0x80)
    irq.assign(9, [new FakeSignal()])
    assert.equal(registers.read(pba, 4), 0x8000_0001)
  })

  test('shows the last of 2048 vectors in its last pending bit', () => {
    const { irq, table: registers } = table(2048)
    irq.vectors[2047]?.trigger()
    assert.equal(registers.read(0x8000 + 252, 4), 0x8000_0000)
    assert.equal(registers.read(0x7ffc, 4), 1) // the control word of vector 2047
  })

  test('reads 0 and ignores writes in between and behind', () => {
    const { irq, table: registers } = table(3)
    for (const vector of irq.vectors) vector.trigger()
    for (const offset of [3 * ENTRY, 0x7fc, 0x804, 0xffc]) {
      registers.write(offset, 0xffff_ffff, 4)
      assert.equal(registers.read(offset, 4), 0, `at ${offset}`)
    }
    assert.equal(registers.read(0x800, 4), 7)
  })
})
