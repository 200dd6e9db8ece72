/** The gate between a driver and guest memory. */
import assert from 'node:assert/strict'
import { openSync } from 'node:fs'
import { after, beforeEach, describe, test } from 'node:test'
import { type Dma, DmaGate } from '../../src/device/dma.ts'
import { Container } from '../../src/iommu/container.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { Fds } from '../support/fds.ts'

const PAGE = 4096
const fds = new Fds()
const zeros = fds.own(openSync('/dev/zero', 'r+'))
after(() => fds[Symbol.dispose]())

const container = new Container({
  maxMaps: 1,
  remote: { read: () => Promise.reject(new Error()), write: () => Promise.reject(new Error()) },
})
const file = { fd: createMemfd('guest', PAGE), offset: 0 }
container.map({ iova: 0x1000, size: PAGE, readable: true, writable: true, file })

let guest: { busMaster: boolean }
let gate: DmaGate
beforeEach(() => {
  guest = { busMaster: true }
  gate = new DmaGate(() => guest.busMaster)
  void container.memory.write(0x1000, new Uint8Array(PAGE))
})

const LIST = [
  { iova: 0x1000, length: 2 },
  { iova: 0x1010, length: 1 },
]

/** Every access of memory, with what it comes to where all bytes are 0. */
const ACCESSES: readonly [name: string, access: (dma: Dma) => unknown, result?: unknown][] = [
  ['read', (dma) => dma.read(0x1000, new Uint8Array(1))],
  ['write', (dma) => dma.write(0x1000, new Uint8Array(1))],
  ['readU8', (dma) => dma.readU8(0x1000), 0],
  ['readU16', (dma) => dma.readU16(0x1000), 0],
  ['readU32', (dma) => dma.readU32(0x1000), 0],
  ['readU64', (dma) => dma.readU64(0x1000), 0n],
  ['writeU8', (dma) => dma.writeU8(0x1000, 0)],
  ['writeU16', (dma) => dma.writeU16(0x1000, 0)],
  ['writeU32', (dma) => dma.writeU32(0x1000, 0)],
  ['writeU64', (dma) => dma.writeU64(0x1000, 0n)],
  ['readList', (dma) => dma.readList(LIST, new Uint8Array(3))],
  ['writeList', (dma) => dma.writeList(LIST, new Uint8Array(3))],
  ['view', (dma) => dma.view(0x1000, 1)[0], 0],
  ['writeFromFile', (dma) => dma.writeFromFile(LIST, zeros, 0), 3],
  ['readToFile', (dma) => dma.readToFile(LIST, zeros, 0), 3],
  ['writeFromFileSync', (dma) => dma.writeFromFileSync(LIST, zeros, 0), 3],
  ['readToFileSync', (dma) => dma.readToFileSync(LIST, zeros, 0), 3],
]

describe('DmaGate', () => {
  test('open, leads to the memory of the client', async () => {
    gate.memory = container.memory
    void gate.write(0x1000, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8))
    assert.equal(gate.readU8(0x1001), 2)
    assert.equal(gate.readU16(0x1001), 0x0302)
    assert.equal(gate.readU32(0x1001), 0x05040302)
    assert.equal(gate.readU64(0x1000), 0x0807060504030201n)
    void gate.writeU8(0x1010, 0x111)
    void gate.writeU16(0x1011, 0x2322)
    void gate.writeU32(0x1013, 0x47464544)
    void gate.writeU64(0x1017, 0xfffefdfcfbfaf9f8n)
    const bytes = new Uint8Array(15)
    void gate.read(0x1010, bytes)
    assert.equal(Buffer.from(bytes).toString('hex'), '11222344454647f8f9fafbfcfdfeff')
    const gathered = new Uint8Array(3)
    void gate.readList(LIST, gathered)
    assert.deepEqual(gathered, Uint8Array.of(1, 2, 0x11))
    void gate.writeList(LIST, Uint8Array.of(7, 8, 9))
    assert.deepEqual([gate.readU16(0x1000), gate.readU8(0x1010)], [0x0807, 9])
    assert.equal(await gate.writeFromFile(LIST, zeros, 0), 3)
    assert.deepEqual([gate.readU16(0x1000), gate.readU8(0x1010)], [0, 0])
    assert.deepEqual(gate.maps(), [{ iova: 0x1000, size: PAGE, readable: true, writable: true }])
  })

  for (const [name, access, result] of ACCESSES) {
    test(`${name}() is EFAULT without a client, before one came and after it went`, async () => {
      await assert.rejects(async () => access(gate), {
        code: 'EFAULT',
        message: /0x1000.*no client/,
      })
      gate.memory = container.memory
      assert.equal(await access(gate), result)
      gate.memory = undefined
      await assert.rejects(async () => access(gate), { code: 'EFAULT', message: /no client/ })
    })

    test(`${name}() is EACCES while the guest has bus mastering off`, async () => {
      gate.memory = container.memory
      guest.busMaster = false
      await assert.rejects(async () => access(gate), { code: 'EACCES', message: /0x1000/ })
      guest.busMaster = true
      assert.equal(await access(gate), result)
    })

    test(`${name}() is EAGAIN while the device is held`, async () => {
      gate.memory = container.memory
      gate.held = true
      await assert.rejects(async () => access(gate), { code: 'EAGAIN', message: /0x1000/ })
      gate.held = false
      assert.equal(await access(gate), result)
    })
  }

  for (const name of ['writeFromFile', 'readToFile'] as const) {
    test(`${name}() rejects what it refuses, and never throws at once`, async () => {
      const refused = gate[name](LIST, zeros, 0)
      await assert.rejects(refused, { code: 'EFAULT' })
    })
  }

  test('maps() is nothing without a client', () => {
    assert.deepEqual(gate.maps(), [])
  })

  test('releaseView() takes a view once, also when its client has gone', () => {
    gate.memory = container.memory
    const [view, other] = [gate.view(0x1000, 1), gate.view(0x1000, 1)]
    gate.releaseView(view)
    assert.throws(() => gate.releaseView(view), { code: 'EINVAL' })
    gate.memory = undefined
    gate.releaseView(other)
    assert.throws(() => gate.releaseView(new Uint8Array(1)), { code: 'EINVAL' })
  })
})
