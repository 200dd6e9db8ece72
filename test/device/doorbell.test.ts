/** Doorbells, own regions, memory and MSI-X of a PCI function: what a driver may ask for, and what it then gets. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { PciFunction } from '../../src/device/pci.ts'
import { SharedMemories } from '../../src/device/shared-memory.ts'
import { configOf, NOTHING, pciDevice, Window } from './support.ts'

const memories = new SharedMemories()

describe('PciFunction.doorbell()', () => {
  test('calls back with each write of its place and width, and with nothing else', () => {
    const seen: (readonly number[])[] = []
    const { device } = pciDevice((pci) => {
      pci.bar(
        0,
        { kind: 'mem32', size: 0x1000 },
        {
          read: (offset) => offset,
          write: (offset, value, width) => void seen.push([offset, value, width]),
        },
      )
      pci.doorbell(0, { offset: 0x10 }, (value) => void seen.push([value]))
      pci.doorbell(0, { offset: 0x14, width: 2 }, (value) => void seen.push([value]))
      pci.doorbell(0, { offset: 0x17, width: 1 }, (value) => void seen.push([value]))
    })
    const bar = new Window(device, 0)
    bar.write(0x10, 0xffff_ffff, 4)
    bar.write(0x10, 1, 2)
    bar.write(0x12, 2, 2)
    bar.write(0x14, 3, 2)
    bar.write(0x14, 0x0004_0004, 4)
    bar.write(0x17, 5, 1)
    assert.deepEqual(seen, [
      [0xffff_ffff],
      [0x10, 1, 2],
      [0x12, 2, 2],
      [3],
      [0x14, 0x0004_0004, 4],
      [5],
    ])
    assert.equal(bar.read(0x10, 4), 0x10)
    // an access of 8 bytes is two of 4
    seen.length = 0
    const eight = new DataView(new ArrayBuffer(8))
    eight.setUint32(0, 6, true)
    eight.setUint32(4, 7, true)
    device.regions[0]!.write(eight, 0, 0x10, 8)
    assert.deepEqual(seen, [[6], [0x14, 7, 4]])
  })

  test('in I/O space says so', () => {
    const { device } = pciDevice((pci) => {
      pci.bar(1, { kind: 'io', size: 8, maxWidth: 2 }, NOTHING)
      pci.doorbell(1, { offset: 2, width: 2 }, () => {})
    })
    assert.deepEqual(
      device.regions[1]!.doorbells.map(({ offset, width, isPort }) => [offset, width, isPort]),
      [[2, 2, true]],
    )
  })

  const build = (pci: PciFunction) => {
    pci.bar(0, { kind: 'mem32', size: 0x2000 }, NOTHING)
    pci.bar(1, { kind: 'io', size: 16, maxWidth: 1 }, NOTHING)
    pci.bar(2, { kind: 'mem64', size: 16 }, NOTHING)
    pci.doorbell(0, { offset: 8 }, () => {})
    pci.msix(1, { bar: 0, offset: 0x1000 })
  }
  for (const [title, bar, info, code] of [
    ['outside of its BAR', 0, { offset: 0x2000 }, 'EINVAL'],
    ['at a negative offset', 0, { offset: -4 }, 'EINVAL'],
    ['unaligned', 0, { offset: 0x22 }, 'EINVAL'],
    ['at a fraction', 0, { offset: 0.5, width: 1 }, 'EINVAL'],
    ['of 8 bytes', 0, { offset: 0x20, width: 8 }, 'EINVAL'],
    ['wider than accesses are', 1, { offset: 0, width: 2 }, 'EINVAL'],
    ['over another', 0, { offset: 10, width: 2 }, 'EEXIST'],
    ['over the MSI-X table', 0, { offset: 0x1000 }, 'EEXIST'],
    ['of no BAR', 5, { offset: 0 }, 'ENOENT'],
    ['of the upper half of a BAR', 3, { offset: 0 }, 'ENOENT'],
    ['of config space', 7, { offset: 0x40 }, 'ENOENT'],
  ] as const) {
    test(`${title} is ${code}`, () => {
      pciDevice((pci) => {
        build(pci)
        assert.throws(() => pci.doorbell(bar, info as { offset: number }, () => {}), { code })
      })
    })
  }

  test('after probe is EBUSY', () => {
    const { device } = pciDevice(build)
    assert.throws(() => device.doorbell(0, { offset: 0x20 }, () => {}), { code: 'EBUSY' })
    assert.throws(() => device.region({ type: 1, subtype: 1, size: 1 }, NOTHING), { code: 'EBUSY' })
  })
})

describe('PciFunction.bar() with memory', () => {
  for (const [title, info, registers] of [
    ['in I/O space', { kind: 'io', size: 16, memory: memories.create(16) }, NOTHING],
    [
      'smaller than the BAR',
      { kind: 'mem32', size: 0x2000, memory: memories.create(0x1000) },
      NOTHING,
    ],
    [
      'larger than the BAR',
      { kind: 'mem32', size: 0x100, memory: memories.create(0x1000) },
      NOTHING,
    ],
    ['but areas of none', { kind: 'mem32', size: 16, areas: [{ offset: 0, size: 16 }] }, NOTHING],
    ['missing, and no registers', { kind: 'mem32', size: 16 }, undefined],
  ] as const) {
    test(`${title} is EINVAL, and the BAR stays free`, () => {
      const { device } = pciDevice((pci) => {
        assert.throws(() => pci.bar(0, info, registers), { code: 'EINVAL' })
      })
      assert.equal(device.regions[0]!.size, 0)
      assert.equal(configOf(device).read(0x10, 4), 0)
    })
  }

  test('needs no registers: what is not memory reads 0', () => {
    const memory = memories.create(0x1000)
    memory.bytes.fill(0xff)
    const { device } = pciDevice((pci) => {
      pci.bar(0, { kind: 'mem32', size: 0x2000, memory, areas: [{ offset: 0, size: 0x1000 }] })
    })
    const bar = new Window(device, 0)
    assert.equal(bar.read(0xffc, 4), 0xffff_ffff)
    assert.equal(bar.read(0x1000, 4), 0)
    bar.write(0x1000, 1, 4)
    assert.equal(bar.read(0x1000, 4), 0)
  })
})

describe('PciFunction.msix() in a BAR of the driver', () => {
  test('puts the table over what is there, and tells where it is', () => {
    const { device, config } = pciDevice((pci) => {
      pci.bar(0, { kind: 'mem32', size: 0x20000 }, { read: () => 0xee, write: () => {} })
      pci.msix(129, { bar: 0, offset: 0x10000 })
    })
    const bar = new Window(device, 0)
    assert.deepEqual(
      [bar.read(0xffff, 1), bar.read(0x10000 + 12, 4), bar.read(0x18000, 4)],
      [0xee, 1, 0],
    )
    const at = config.read(0x34, 1)
    assert.equal(config.read(at + 4, 4), 0x10000)
    assert.equal(config.read(at + 8, 4), 0x18000)
  })

  for (const [title, options, code] of [
    ['amid a page', { bar: 0, offset: 0x800 }, 'EINVAL'],
    ['beyond its BAR', { bar: 0, offset: 0x2000 }, 'EINVAL'],
    ['at a negative offset', { bar: 0, offset: -0x1000 }, 'EINVAL'],
    ['in I/O space', { bar: 1, offset: 0 }, 'EINVAL'],
    ['in no BAR', { bar: 5, offset: 0 }, 'ENOENT'],
    ['over a doorbell', { bar: 0, offset: 0x1000 }, 'EEXIST'],
  ] as const) {
    test(`${title} is ${code}, and there is no capability`, () => {
      const { config } = pciDevice((pci) => {
        pci.bar(0, { kind: 'mem32', size: 0x2000 }, NOTHING)
        pci.bar(1, { kind: 'io', size: 16 }, NOTHING)
        pci.doorbell(0, { offset: 0x1ffc }, () => {})
        assert.throws(() => pci.msix(1, options), { code })
      })
      assert.equal(config.read(0x34, 1), 0)
    })
  }
})

describe('PciFunction.region()', () => {
  test('adds regions after those of PCI, with registers and memory', () => {
    const memory = memories.create(16)
    const { device } = pciDevice((pci) => {
      const info = { type: 0x8000_1b36, subtype: 1 }
      assert.equal(pci.region({ ...info, size: 100 }, { read: () => 7, write: () => {} }), 9)
      assert.equal(pci.region({ ...info, subtype: 2, size: 16, memory }), 10)
    })
    assert.equal(device.regions.length, 11)
    assert.deepEqual(device.regions[9]!.type, { type: 0x8000_1b36, subtype: 1 })
    assert.equal(new Window(device, 9).read(99, 1), 7)
    memory.bytes[15] = 8
    assert.equal(new Window(device, 10).read(15, 1), 8)
  })

  for (const [title, info] of [
    ['of no size', { type: 1, subtype: 1, size: 0 }],
    ['of half a byte', { type: 1, subtype: 1, size: 0.5 }],
    ['of 2^60 bytes', { type: 1, subtype: 1, size: 2 ** 60 }],
    ['of a type of 33 bits', { type: 2 ** 32, subtype: 1, size: 1 }],
    ['of a negative subtype', { type: 1, subtype: -1, size: 1 }],
  ] as const) {
    test(`${title} is EINVAL`, () => {
      pciDevice((pci) => assert.throws(() => pci.region(info, NOTHING), { code: 'EINVAL' }))
    })
  }

  test('makes at most 100 regions: QEMU takes no device with more', () => {
    pciDevice((pci) => {
      const info = { type: 1, subtype: 1, size: 1 }
      for (let index = 9; index < 100; index++) assert.equal(pci.region(info, NOTHING), index)
      assert.throws(() => pci.region(info, NOTHING), { code: 'ENOSPC' })
    })
  })
})
