/** The gate between a driver and guest memory. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { type Dma, DmaGate } from '../../src/device/dma.ts'

function setUp() {
  const calls: unknown[][] = []
  const memory: Dma = {
    read: (...args) => void calls.push(['read', ...args]),
    write: (...args) => void calls.push(['write', ...args]),
    view: (...args) => {
      calls.push(['view', ...args])
      return Uint8Array.of(7)
    },
  }
  const guest = { busMaster: true }
  const gate = new DmaGate(() => guest.busMaster)
  return { calls, memory, guest, gate }
}

const ACCESSES: readonly [name: string, access: (dma: Dma) => void][] = [
  ['read', (dma) => dma.read(0x1000, new Uint8Array(1))],
  ['write', (dma) => dma.write(0x1000, new Uint8Array(1))],
  ['view', (dma) => dma.view(0x1000, 1)],
]

describe('DmaGate', () => {
  test('open, hands every call on as it is', () => {
    const { calls, memory, gate } = setUp()
    gate.memory = memory
    const bytes = new Uint8Array(3)
    void gate.read(0x1000, bytes)
    void gate.write(0x2000, bytes)
    assert.deepEqual(gate.view(0x3000, 4), Uint8Array.of(7))
    assert.deepEqual(calls, [
      ['read', 0x1000, bytes],
      ['write', 0x2000, bytes],
      ['view', 0x3000, 4],
    ])
  })

  for (const [name, access] of ACCESSES) {
    test(`${name}() is EFAULT without a client, before one came and after it went`, () => {
      const { calls, memory, gate } = setUp()
      assert.throws(() => access(gate), { code: 'EFAULT', message: /0x1000/ })
      gate.memory = memory
      access(gate)
      gate.memory = undefined
      assert.throws(() => access(gate), { code: 'EFAULT' })
      assert.equal(calls.length, 1)
    })

    test(`${name}() is EACCES while the guest has bus mastering off`, () => {
      const { calls, memory, guest, gate } = setUp()
      gate.memory = memory
      guest.busMaster = false
      assert.throws(() => access(gate), { code: 'EACCES', message: /0x1000/ })
      assert.equal(calls.length, 0)
      guest.busMaster = true
      access(gate)
      assert.equal(calls.length, 1)
    })
  }
})
