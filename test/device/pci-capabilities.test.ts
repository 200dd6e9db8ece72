/** PCI capabilities: what each says, what a guest may write, which writes reset; and what lspci makes of them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PciDevice } from '../../src/device/pci-device.ts'
import type { PciFunction } from '../../src/device/pci.ts'
import { lspci } from '../support/lspci.ts'
import {
  capabilitiesOf,
  capabilityAt,
  IDENTITY,
  MSI,
  MSIX,
  NOTHING,
  pciDevice,
  Window,
} from './support.ts'

// PCI_CAP_ID_* of <linux/pci_regs.h>
const PM = 0x01
const MSI_CAP = 0x05
const VENDOR = 0x09
const EXPRESS = 0x10
const MSIX_CAP = 0x11

/** Writes all ones to every dword of a capability but its first two bytes, and returns what is there then. */
function poke(config: Window, at: number, size: number): number[] {
  const bytes: number[] = []
  for (let i = 2; i < size; i++) config.write(at + i, 0xff, 1)
  for (let i = 0; i < size; i++) bytes.push(config.read(at + i, 1))
  return bytes
}

describe('the capability list', () => {
  test('is not there without capabilities', () => {
    const { config } = pciDevice(() => {})
    assert.deepEqual(capabilitiesOf(config), [])
  })

  test('holds each once, in the order of the calls, several of the vendor too', () => {
    const { config } = pciDevice((pci) => {
      pci.vendorCapability(Uint8Array.of(1, 2, 3, 4, 5, 6))
      pci.msix(3)
      pci.powerManagement()
      pci.msi(2)
      pci.vendorCapability(new Uint8Array(0))
      pci.express()
    })
    const ids = capabilitiesOf(config).map(({ id }) => id)
    assert.deepEqual(ids, [VENDOR, MSIX_CAP, PM, MSI_CAP, VENDOR, EXPRESS])
  })

  for (const [name, call] of Object.entries<(pci: PciFunction) => void>({
    'msi()': (pci) => pci.msi(1),
    'msix()': (pci) => pci.msix(1),
    'powerManagement()': (pci) => pci.powerManagement(),
    'express()': (pci) => pci.express(),
    'vendorCapability()': (pci) => pci.vendorCapability(new Uint8Array(5)),
  })) {
    test(`${name} is ENOSPC where no room is left, and the list stays as it is`, () => {
      const device = new PciDevice(IDENTITY)
      device.vendorCapability(new Uint8Array(192 - 4 - 3))
      assert.throws(() => call(device), { code: 'ENOSPC' })
      device.seal(() => {})
      const config = new Window(device, 7)
      assert.deepEqual(capabilitiesOf(config), [{ id: VENDOR, at: 0x40 }])
      assert.equal(config.size, 256)
      assert.deepEqual([device.irqs[MSI]?.count, device.irqs[MSIX]?.count], [0, 0])
    })
  }

  for (const name of ['powerManagement', 'express'] as const) {
    test(`${name}() a second time is EEXIST`, () => {
      const device = new PciDevice(IDENTITY)
      device[name]()
      assert.throws(() => device[name](), { code: 'EEXIST' })
    })
  }
})

describe('MSI', () => {
  // PCI 3.0, 6.8.1: message control has 64 bit capable (7) and multiple message capable (3:1)
  for (const [count, control] of [
    [1, 0x80],
    [2, 0x82],
    [4, 0x84],
    [8, 0x86],
    [16, 0x88],
    [32, 0x8a],
  ] as const) {
    test(`of ${count} vectors has message control ${control}, and lets enable, count, address and data be written`, () => {
      const { device, config } = pciDevice((pci) => assert.equal(pci.msi(count).length, count))
      const at = capabilityAt(config, MSI_CAP)
      assert.equal(config.read(at + 2, 2), control)
      assert.equal(device.irqs[MSI]?.count, count)
      const header = [MSI_CAP, 0, control | 0x71, 0]
      const address = [0xfc, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]
      assert.deepEqual(poke(config, at, 16), [...header, ...address, 0xff, 0xff, 0, 0])
    })
  }
})

describe('MSI-X', () => {
  // PCI 3.0, 6.8.2: message control has size - 1 (10:0), function mask (14), enable (15)
  for (const [count, bar, pba] of [
    [1, 4, 0x804],
    [8, 0, 0x800],
    [128, 5, 0x805],
    [129, 2, 0x8002],
    [2048, 4, 0x8004],
  ] as const) {
    test(`of ${count} vectors says where BAR ${bar} holds table and pending bits, and only that it is on or masked can be written`, () => {
      const { device, config } = pciDevice((pci) =>
        assert.equal(pci.msix(count, { bar }).length, count),
      )
      const at = capabilityAt(config, MSIX_CAP)
      assert.equal(config.read(at + 2, 2), count - 1)
      assert.equal(config.read(at + 4, 4), bar)
      assert.equal(config.read(at + 8, 4), pba)
      assert.equal(device.irqs[MSIX]?.count, count)
      assert.equal(device.regions[bar]?.size, count > 128 ? 65_536 : 4096)
      const before = Array.from({ length: 12 }, (_, i) => config.read(at + i, 1))
      before[3]! |= 0xc0
      assert.deepEqual(poke(config, at, 12), before)
    })
  }
})

describe('power management', () => {
  const setUp = () => {
    const found = pciDevice((pci) => pci.powerManagement())
    const pmcsr = capabilityAt(found.config, PM) + 4 // PCI_PM_CTRL
    return { ...found, pmcsr }
  }

  test('is version 3, without PME and D1, D2, in D0, and loses its state in D3hot', () => {
    const { config, pmcsr } = setUp()
    assert.equal(config.read(pmcsr - 2, 2), 0x0003)
    assert.equal(config.read(pmcsr, 4), 0) // bit 3, No_Soft_Reset, is clear
  })

  for (const width of [1, 2, 4] as const) {
    test(`D3hot to D0, written in ${width} bytes, resets with 'flr' and brings all back`, () => {
      const { config, pmcsr, resets } = setUp()
      const powerOn = config.bytes()
      config.write(0x04, 0x0406, 2)
      config.write(pmcsr, 3, width)
      assert.deepEqual(resets, [])
      assert.equal(config.read(pmcsr, 2), 3)
      config.write(pmcsr, 3, width)
      assert.deepEqual(resets, [])
      config.write(pmcsr, 0, width)
      assert.deepEqual(resets, ['flr'])
      assert.deepEqual(config.bytes(), powerOn)
      config.write(pmcsr, 0, width)
      assert.deepEqual(resets, ['flr'])
    })
  }

  test('ignores D1 and D2, from D0 and from D3hot', () => {
    const { config, pmcsr, resets } = setUp()
    for (const state of [0, 3]) {
      config.write(pmcsr, state, 2)
      for (const absent of [1, 2]) {
        config.write(pmcsr, absent, 2)
        assert.equal(config.read(pmcsr, 2), state)
      }
    }
    assert.deepEqual(resets, [])
    config.write(pmcsr, 0, 2)
    assert.deepEqual(resets, ['flr'])
  })

  test('is in D0 after a reset, so that D0 written then is none', () => {
    const { device, config, pmcsr, resets } = setUp()
    config.write(pmcsr, 3, 2)
    device.reset('device')
    assert.equal(config.read(pmcsr, 2), 0)
    config.write(pmcsr, 0, 2)
    assert.deepEqual(resets, ['device'])
  })
})

describe('PCI Express', () => {
  const setUp = () => {
    const found = pciDevice((pci) => {
      pci.vendorCapability(new Uint8Array(6))
      pci.express()
    })
    return { ...found, at: capabilityAt(found.config, EXPRESS) }
  }

  test('is an endpoint of version 2 with function level reset', () => {
    const { config, at } = setUp()
    // PCIe 3.0, 7.8: capabilities, device capabilities (FLR 28, role based 15), device control, link x1 at 2.5 GT/s
    assert.equal(config.read(at + 0x02, 2), 0x0002)
    assert.equal(config.read(at + 0x04, 4), 0x1000_8000)
    assert.equal(config.read(at + 0x08, 2), 0x2810)
    assert.equal(config.read(at + 0x0c, 4), 0x0000_0011)
    assert.equal(config.read(at + 0x12, 2), 0x0011)
  })

  test('has 4096 bytes of configuration space, the extended part all 0 and not to be written', () => {
    const { config } = setUp()
    assert.equal(config.size, 4096)
    for (let offset = 0x100; offset < 4096; offset += 4) config.write(offset, 0xffff_ffff, 4)
    assert.deepEqual(config.bytes().subarray(0x100), new Uint8Array(4096 - 256))
  })

  for (const [width, offset, value] of [
    [1, 9, 0x80],
    [2, 8, 0x8000],
    [2, 8, 0xffff],
    [4, 8, 0xa810],
  ] as const) {
    test(`bit 15 of Device Control, written as ${value} in ${width} bytes, resets with 'flr' and reads 0`, () => {
      const { config, at, resets } = setUp()
      const powerOn = config.bytes()
      config.write(0x04, 0x0406, 2)
      config.write(0x3c, 11, 1)
      config.write(at + offset, value, width)
      assert.deepEqual(resets, ['flr'])
      assert.deepEqual(config.bytes(), powerOn)
    })
  }

  test('other bits of Device Control are kept and reset nothing', () => {
    const { config, at, resets } = setUp()
    config.write(at + 8, 0x7fff, 2)
    assert.equal(config.read(at + 8, 2), 0x7fff)
    config.write(at + 8, 0, 2)
    assert.equal(config.read(at + 8, 2), 0)
    assert.deepEqual(resets, [])
  })
})

describe('a vendor-specific capability', () => {
  test('holds its length and the body, and cannot be written', () => {
    const { config } = pciDevice((pci) => pci.vendorCapability(Uint8Array.of(7, 8, 9)))
    const at = capabilityAt(config, VENDOR)
    assert.deepEqual(poke(config, at, 8), [VENDOR, 0, 6, 7, 8, 9, 0, 0])
  })
})

describe('lspci', () => {
  const device = () =>
    pciDevice(
      (pci) => {
        pci.intx()
        pci.powerManagement()
        pci.msi(4)
        pci.msix(8, { bar: 2 })
        pci.express()
        pci.vendorCapability(Uint8Array.of(0xca, 0xfe, 0x01))
        pci.bar(0, { kind: 'io', size: 32 }, NOTHING)
        pci.bar(1, { kind: 'mem32', size: 4096 }, NOTHING)
        pci.bar(4, { kind: 'mem64', size: 2 ** 33, prefetchable: true }, NOTHING)
        pci.rom(new Uint8Array(4096))
      },
      {
        identity: {
          vendor: 0x1b36,
          device: 0x0010,
          class: 0x01_08_02,
          revision: 2,
          subsystemVendor: 0x1af4,
          subsystem: 0x1100,
        } as typeof IDENTITY,
      },
    )

  /** Fails with all that lspci said, where a line is missing. */
  const assertLines = (config: Window, expected: readonly RegExp[]) => {
    const lines = lspci(config.bytes())
    for (const line of expected) {
      assert.ok(
        lines.some((said) => line.test(said)),
        `no line ${line} in:\n${lines.join('\n')}`,
      )
    }
    return lines
  }

  test('reads a function at power-on as it was built', () => {
    const { config } = device()
    const lines = assertLines(config, [
      /^00:00\.0 0108: 1b36:0010 \(rev 02\) \(prog-if 02 /,
      /^Subsystem: 1af4:1100$/,
      /^Control: I\/O- Mem- BusMaster- .* ParErr- .* SERR- .* DisINTx-$/,
      /^Status: Cap\+ .* >TAbort- <TAbort- <MAbort- >SERR- <PERR- INTx-$/,
      /^Interrupt: pin A routed to IRQ 0$/,
      /^Capabilities: \[40\] Power Management version 3$/,
      /^Flags: PMEClk- DSI- D1- D2- AuxCurrent=0mA PME\(D0-,D1-,D2-,D3hot-,D3cold-\)$/,
      /^Status: D0 NoSoftRst- PME-Enable- DSel=0 DScale=0 PME-$/,
      /^Capabilities: \[48\] MSI: Enable- Count=1\/4 Maskable- 64bit\+$/,
      /^Address: 0000000000000000 {2}Data: 0000$/,
      /^Capabilities: \[58\] MSI-X: Enable- Count=8 Masked-$/,
      /^Vector table: BAR=2 offset=00000000$/,
      /^PBA: BAR=2 offset=00000800$/,
      /^Capabilities: \[64\] Express \(v2\) Endpoint, (?:MSI 00|IntMsgNum 0)$/,
      /^DevCap:\s+MaxPayload 128 bytes/,
      /RBE\+ FLReset\+/,
      /^RlxdOrd\+ ExtTag- PhantFunc- AuxPwr- NoSnoop\+ FLReset-$/,
      /^MaxPayload 128 bytes, MaxReadReq 512 bytes$/,
      /^LnkCap:\s+Port #0, Speed 2\.5GT\/s, Width x1/,
      /^LnkSta:\s+Speed 2\.5GT\/s.*, Width x1/,
      /^Capabilities: \[a0\] Vendor Specific Information: Len=06 /,
    ])
    const capabilities = lines.filter((line) => line.startsWith('Capabilities:'))
    assert.equal(capabilities.length, 5)
    assert.ok(!lines.some((line) => /unknown|error|<chain/i.test(line)), lines.join('\n'))
  })

  test('reads what a guest has set up', () => {
    const { config } = device()
    config.write(0x04, 0x0407, 2)
    config.write(0x10, 0xc000, 4)
    config.write(0x14, 0xfebf_0000, 4)
    config.write(0x18, 0xfebe_0000, 4)
    config.write(0x20, 0, 4)
    config.write(0x24, 0x80, 4)
    config.write(0x30, 0xfeb0_0001, 4)
    config.write(0x3c, 11, 1)
    const msi = capabilityAt(config, MSI_CAP)
    config.write(msi + 2, 0x0001, 2)
    config.write(msi + 4, 0xfee0_1000, 4)
    config.write(msi + 12, 0x4041, 2)
    config.write(capabilityAt(config, MSIX_CAP) + 2, 0xc000, 2)
    config.write(capabilityAt(config, PM) + 4, 3, 2)
    assertLines(config, [
      /^Control: I\/O\+ Mem\+ BusMaster\+ .* DisINTx\+$/,
      /^Interrupt: pin A routed to IRQ 11$/,
      /^Region 0: I\/O ports at c000$/,
      /^Region 1: Memory at febf0000 \(32-bit, non-prefetchable\)$/,
      /^Region 2: Memory at febe0000 \(32-bit, non-prefetchable\)$/,
      /^Region 4: Memory at 8000000000 \(64-bit, prefetchable\)$/,
      /^Expansion ROM at feb00000$/,
      /^Status: D3 NoSoftRst-/,
      /MSI: Enable\+ Count=1\/4 Maskable- 64bit\+$/,
      /^Address: 00000000fee01000 {2}Data: 4041$/,
      /MSI-X: Enable\+ Count=8 Masked\+$/,
    ])
  })

  test('reads the largest MSI-X table', () => {
    const { config } = pciDevice((pci) => pci.msix(2048))
    assertLines(config, [
      /^Capabilities: \[40\] MSI-X: Enable- Count=2048 Masked-$/,
      /^Vector table: BAR=4 offset=00000000$/,
      /^PBA: BAR=4 offset=00008000$/,
    ])
  })
})
