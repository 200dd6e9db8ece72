/** PCI functions: power-on values, BARs, ROM, interrupts and resets, as a guest finds them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { PciDevice } from '../../src/device/pci-device.ts'
import type { PciFunction, ResetCause } from '../../src/device/pci.ts'
import type { BarInfo, Registers, Width } from '../../src/device/registers.ts'
import {
  capabilitiesOf,
  configOf,
  ERR,
  FakeSignal,
  IDENTITY,
  INTX,
  MSI,
  MSIX,
  NOTHING,
  pciDevice,
  REQ,
  ROM_REGION,
  Window,
} from './support.ts'

// <linux/pci_regs.h>
const COMMAND = 0x04
const STATUS = 0x06
const BAR = (index: number) => 0x10 + 4 * index
const ROM = 0x30
const INTERRUPT_LINE = 0x3c
const INTERRUPT_PIN = 0x3d
const STATUS_INTERRUPT = 0x08
const COMMAND_MASTER = 0x4
const COMMAND_INTX_DISABLE = 0x400

const EVERYTHING = (pci: PciFunction) => {
  pci.intx()
  pci.msi(4)
  pci.msix(8)
  pci.powerManagement()
  pci.express()
  pci.vendorCapability(Uint8Array.of(1, 2, 3))
  pci.bar(0, { kind: 'io', size: 8 }, NOTHING)
  pci.bar(1, { kind: 'mem32', size: 4096 }, NOTHING)
  pci.bar(2, { kind: 'mem64', size: 2 ** 33, prefetchable: true }, NOTHING)
  pci.rom(new Uint8Array(3000))
}

describe('PciDevice at power-on', () => {
  test('has a header with the ids given, and zeros', () => {
    const { config } = pciDevice(() => {}, {
      identity: {
        vendor: 0x1af4,
        device: 0x1041,
        class: 0x02_00_01,
        revision: 0x5a,
        subsystemVendor: 0x1234,
        subsystem: 0x5678,
      } as typeof IDENTITY,
    })
    // PCI 3.0, 6.1: vendor, device, command, status, revision, class, …, subsystem at 0x2c
    const expected = new Uint8Array(256)
    expected.set([0xf4, 0x1a, 0x41, 0x10, 0, 0, 0, 0, 0x5a, 0x01, 0x00, 0x02])
    expected.set([0x34, 0x12, 0x78, 0x56], 0x2c)
    assert.deepEqual(config.bytes(), expected)
  })

  test('repeats its ids for the subsystem unless that is given', () => {
    const { config } = pciDevice(() => {})
    assert.equal(config.read(0x00, 4), 0x3253_4348)
    assert.equal(config.read(0x2c, 4), 0x3253_4348)
    assert.equal(config.read(0x08, 4), 0x0700_0200)
  })

  test('has nine regions and five irq indexes, the absent ones empty', () => {
    // vfio-user reference 8.1 and 10.1
    const { device } = pciDevice(() => {})
    assert.deepEqual(
      device.regions.map(({ size, flags }) => [size, flags]),
      [...Array.from({ length: 7 }, () => [0, 0]), [256, 3], [0, 0]],
    )
    assert.deepEqual(
      device.irqs.map(({ index, count }) => [index, count]),
      [
        [INTX, 0],
        [MSI, 0],
        [MSIX, 0],
        [ERR, 1],
        [REQ, 1],
      ],
    )
    assert.equal(device.flags, 3) // VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI
  })

  for (const [field, value] of [
    ['vendor', 0x10000],
    ['vendor', 0xffff], // an empty slot
    ['device', -1],
    ['class', 0x100_0000],
    ['revision', 0x100],
    ['revision', 0.5],
    ['subsystemVendor', Number.NaN],
    ['subsystem', 0x1_0000],
    ['device', undefined], // the compiler lets neither through, JavaScript does
    ['vendor', '0x1b36'],
  ] as const) {
    test(`cannot have ${field} ${value}: EINVAL`, () => {
      assert.throws(() => new PciDevice({ ...IDENTITY, [field]: value }), {
        code: 'EINVAL',
        message: new RegExp(field),
      })
    })
  }
})

describe('PciDevice header writes', () => {
  test('change Command bits that exist, cache line, latency and interrupt line, and nothing else', () => {
    const { config } = pciDevice(() => {})
    const expected = config.bytes()
    for (let offset = 0; offset < 256; offset += 4) config.write(offset, 0xffff_ffff, 4)
    // PCI 3.0, 6.2.2: I/O, memory, master, parity, SERR, interrupt disable
    expected.set([0x47, 0x05], COMMAND)
    expected.set([0xff, 0xff], 0x0c)
    expected[INTERRUPT_LINE] = 0xff
    assert.deepEqual(config.bytes(), expected)
  })

  test('of one byte leave its neighbours alone', () => {
    const { config } = pciDevice(() => {})
    config.write(COMMAND + 1, 0xff, 1)
    assert.equal(config.read(COMMAND, 4), 0x0000_0500)
    config.write(COMMAND, 0x06, 1)
    assert.equal(config.read(COMMAND, 4), 0x0000_0506)
  })

  test('decide whether the function is a bus master', () => {
    const { device, config } = pciDevice(() => {})
    assert.equal(device.busMaster, false)
    config.write(COMMAND, COMMAND_MASTER, 2)
    assert.equal(device.busMaster, true)
    config.write(COMMAND, 0x03, 2)
    assert.equal(device.busMaster, false)
  })
})

interface Sizing extends BarInfo {
  /** What the BAR reads after all ones were written to it, and the one behind it. */
  readonly reads: readonly [low: number, high: number]
}

const SIZINGS: readonly Sizing[] = [
  { kind: 'io', size: 4, reads: [0xffff_fffd, 0] },
  { kind: 'io', size: 8, reads: [0xffff_fff9, 0] },
  { kind: 'io', size: 256, reads: [0xffff_ff01, 0] },
  { kind: 'mem32', size: 16, reads: [0xffff_fff0, 0] },
  { kind: 'mem32', size: 4096, reads: [0xffff_f000, 0] },
  { kind: 'mem32', size: 4096, prefetchable: true, reads: [0xffff_f008, 0] },
  { kind: 'mem32', size: 2 ** 31, reads: [0x8000_0000, 0] },
  { kind: 'mem64', size: 16, reads: [0xffff_fff4, 0xffff_ffff] },
  { kind: 'mem64', size: 0x4000, reads: [0xffff_c004, 0xffff_ffff] },
  { kind: 'mem64', size: 0x4000, prefetchable: true, reads: [0xffff_c00c, 0xffff_ffff] },
  { kind: 'mem64', size: 2 ** 31, reads: [0x8000_0004, 0xffff_ffff] },
  { kind: 'mem64', size: 2 ** 32, reads: [0x0000_0004, 0xffff_ffff] },
  { kind: 'mem64', size: 2 ** 33, reads: [0x0000_0004, 0xffff_fffe] },
  { kind: 'mem64', size: 2 ** 36, prefetchable: true, reads: [0x0000_000c, 0xffff_fff0] },
  { kind: 'mem64', size: 2 ** 52, reads: [0x0000_0004, 0xfff0_0000] },
]

describe('PciDevice.bar()', () => {
  for (const { reads, ...info } of SIZINGS) {
    const { kind, size, prefetchable = false } = info
    const title = `${prefetchable ? 'prefetchable ' : ''}${kind} of ${size} bytes`

    for (const index of kind === 'mem64' ? [0, 4] : [0, 5]) {
      test(`${index}, ${title}, can be sized as PCI 3.0, 6.2.5.1 says, and takes an address`, () => {
        const { device, config } = pciDevice((pci) => pci.bar(index, info, NOTHING))
        const [low, high] = reads
        const type = low & (kind === 'io' ? 0x3 : 0xf)
        const neighbour = index < 5 ? BAR(index + 1) : 0x28
        assert.equal(config.read(BAR(index), 4), type)
        config.write(BAR(index), 0xffff_ffff, 4)
        config.write(neighbour, 0xffff_ffff, 4)
        assert.equal(config.read(BAR(index), 4), low)
        assert.equal(config.read(neighbour, 4), high)
        // the guest's arithmetic: without type bits, the lowest bit that stayed
        const mask = ((BigInt(high) << 32n) | BigInt(low)) & ~(kind === 'io' ? 0x3n : 0xfn)
        assert.equal(mask & -mask, BigInt(size))
        assert.equal(device.regions[index]?.size, size)
        assert.equal(device.regions[index]?.flags, 3) // readable and writable, not mappable
        assert.equal(device.regions[index + 1]?.size, 0) // ROM behind BAR 5

        config.write(BAR(index), 0xa5a5_a5a5, 4)
        config.write(neighbour, 0x5a5a_5a5a, 4)
        assert.equal(config.read(BAR(index), 4), ((0xa5a5_a5a5 & low) | type) >>> 0)
        assert.equal(config.read(neighbour, 4), (0x5a5a_5a5a & high) >>> 0)
      })
    }

    test(`${title} is sized the same in bytes and words`, () => {
      const { config } = pciDevice((pci) => pci.bar(0, info, NOTHING))
      for (const width of [1, 2] as const) {
        config.write(BAR(0), 0, 4)
        for (let at = 0; at < 8; at += width) config.write(BAR(0) + at, 0xffff, width)
        assert.deepEqual([config.read(BAR(0), 4), config.read(BAR(1), 4)], reads)
      }
    })
  }

  test('leaves absent BARs reading 0, whatever is written', () => {
    const { config } = pciDevice((pci) => pci.bar(2, { kind: 'io', size: 8 }, NOTHING))
    for (const index of [0, 1, 3, 4, 5]) {
      config.write(BAR(index), 0xffff_ffff, 4)
      assert.equal(config.read(BAR(index), 4), 0)
    }
  })

  test('splits accesses for the registers behind it as maxWidth says', () => {
    const widths: Width[] = []
    const registers = {
      read: (_offset: number, width: Width) => widths.push(width),
      write: (_offset: number, _value: number, width: Width) => void widths.push(width),
    }
    const { device } = pciDevice((pci) => {
      pci.bar(0, { kind: 'io', size: 8, maxWidth: 1 }, registers)
      pci.bar(1, { kind: 'mem32', size: 16, maxWidth: 2 }, registers)
      pci.bar(2, { kind: 'mem32', size: 16 }, registers)
    })
    new Window(device, 0).write(0, 0, 2)
    new Window(device, 1).read(4, 4)
    new Window(device, 2).write(8, 0, 4)
    assert.deepEqual(widths, [1, 1, 2, 2, 4])
  })

  for (const [title, index, info] of [
    ['index 6', 6, { kind: 'io', size: 8 }],
    ['index -1', -1, { kind: 'io', size: 8 }],
    ['index 0.5', 0.5, { kind: 'io', size: 8 }],
    ['index NaN', Number.NaN, { kind: 'io', size: 8 }],
    ['a 64-bit BAR at index 5', 5, { kind: 'mem64', size: 4096 }],
    ['size 0', 0, { kind: 'mem32', size: 0 }],
    ['a negative size', 0, { kind: 'mem32', size: -4096 }],
    ['size NaN', 0, { kind: 'mem32', size: Number.NaN }],
    ['an infinite size', 0, { kind: 'mem64', size: Number.POSITIVE_INFINITY }],
    ['a size that is no power of two', 0, { kind: 'mem32', size: 4097 }],
    ['a neighbour of a big power of two', 0, { kind: 'mem64', size: 2 ** 49 + 1 }],
    ['less than 4 bytes of I/O', 0, { kind: 'io', size: 2 }],
    ['less than 16 bytes of memory', 0, { kind: 'mem32', size: 8 }],
    ['less than 16 bytes of 64-bit memory', 0, { kind: 'mem64', size: 8 }],
    ['4 GiB in 32 bits', 0, { kind: 'mem32', size: 2 ** 32 }],
    ['4 GiB of I/O', 0, { kind: 'io', size: 2 ** 32 }],
    ['more bytes than a number counts', 0, { kind: 'mem64', size: 2 ** 53 }],
    ['prefetchable I/O', 0, { kind: 'io', size: 16, prefetchable: true }],
  ] as const) {
    test(`refuses ${title} with EINVAL, and leaves nothing`, () => {
      const device = new PciDevice(IDENTITY)
      assert.throws(() => device.bar(index, info, NOTHING), { code: 'EINVAL' })
      device.seal(() => {})
      const config = configOf(device)
      for (let bar = 0; bar < 6; bar++) {
        config.write(BAR(bar), 0xffff_ffff, 4)
        assert.equal(config.read(BAR(bar), 4), 0)
        assert.equal(device.regions[bar]?.size, 0)
      }
    })
  }

  // What the compiler does not let through, and JavaScript does.
  for (const [title, info, registers, message] of [
    ['no size', { kind: 'mem32' }, NOTHING, /^bar 0: size undefined is no power of two/],
    ['a size in text', { kind: 'mem32', size: '4096' }, NOTHING, /^bar 0: size '4096' is no power/],
    [
      'an unknown kind',
      { kind: 'memory', size: 64 },
      NOTHING,
      /kind "memory": not io, mem32, mem64$/,
    ],
    ['no kind', { size: 64 }, NOTHING, /^bar 0: kind undefined: not io, mem32, mem64$/],
    [
      'an odd width',
      { kind: 'io', size: 64, maxWidth: 8 },
      NOTHING,
      /^BAR0: maxWidth 8: not 1, 2, 4$/,
    ],
    [
      'nothing to access',
      { kind: 'io', size: 64 },
      undefined,
      /^BAR0: neither registers nor memory$/,
    ],
    [
      'registers that cannot be read',
      { kind: 'io', size: 64 },
      { write() {} },
      /^BAR0: .* read\(\)/,
    ],
    [
      'registers that cannot be written',
      { kind: 'io', size: 64 },
      { read: () => 0 },
      /^BAR0: .* write\(\)/,
    ],
    ['null for registers', { kind: 'io', size: 64 }, null, /^BAR0: registers without read\(\)/],
  ] as const) {
    test(`refuses ${title} with EINVAL, saying what would be right`, () => {
      const device = new PciDevice(IDENTITY)
      const bar = () => device.bar(0, info as BarInfo, registers as Registers)
      assert.throws(bar, { code: 'EINVAL', message })
      assert.equal(device.regions[0]?.size, 0)
    })
  }

  for (const [title, first, second] of [
    ['the same index', [0, 'io'], [0, 'mem32']],
    ['the upper half of a 64-bit BAR', [0, 'mem64'], [1, 'mem32']],
    ['the upper half of a 64-bit BAR, for another', [0, 'mem64'], [1, 'mem64']],
    ['an index that its upper half would need', [1, 'mem32'], [0, 'mem64']],
  ] as const) {
    test(`refuses ${title} with EEXIST`, () => {
      const device = new PciDevice(IDENTITY)
      device.bar(first[0], { kind: first[1], size: 64 }, NOTHING)
      assert.throws(() => device.bar(second[0], { kind: second[1], size: 64 }, NOTHING), {
        code: 'EEXIST',
      })
    })
  }
})

describe('PciDevice.rom()', () => {
  for (const { length, size, mask } of [
    { length: 0, size: 2048, mask: 0xffff_f801 },
    { length: 1, size: 2048, mask: 0xffff_f801 },
    { length: 2048, size: 2048, mask: 0xffff_f801 },
    { length: 2049, size: 4096, mask: 0xffff_f001 },
    { length: 65_536, size: 65_536, mask: 0xffff_0001 },
  ]) {
    test(`of ${length} bytes takes ${size}, and can be sized as PCI 3.0, 6.2.5.2 says`, () => {
      const { device, config } = pciDevice((pci) => pci.rom(new Uint8Array(length)))
      assert.equal(config.read(ROM, 4), 0)
      config.write(ROM, 0xffff_f800, 4)
      assert.equal(config.read(ROM, 4), (mask & ~1) >>> 0)
      config.write(ROM, 0xffff_ffff, 4)
      assert.equal(config.read(ROM, 4), mask)
      assert.equal(device.regions[ROM_REGION]?.size, size)
      assert.equal(device.regions[ROM_REGION]?.flags, 1) // read-only
    })
  }

  test('holds a copy of the content, then 0xff', () => {
    const content = Uint8Array.of(0x55, 0xaa, 1, 2, 3)
    const { device } = pciDevice((pci) => pci.rom(content))
    content.fill(0)
    const expected = new Uint8Array(2048).fill(0xff)
    expected.set([0x55, 0xaa, 1, 2, 3])
    const rom = new Window(device, ROM_REGION)
    assert.deepEqual(rom.bytes(), expected)
    assert.equal(rom.read(0, 4), 0x0201_aa55)
    assert.throws(() => rom.write(0, 0, 1), { code: 'EINVAL' })
  })

  test('absent reads 0 at 0x30, whatever is written', () => {
    const { config } = pciDevice(() => {})
    config.write(ROM, 0xffff_ffff, 4)
    assert.equal(config.read(ROM, 4), 0)
  })

  test('a second time is EEXIST, beyond 16 MiB EINVAL', () => {
    const device = new PciDevice(IDENTITY)
    assert.throws(() => device.rom(new Uint8Array(2 ** 24 + 1)), { code: 'EINVAL' })
    device.rom(new Uint8Array(1))
    assert.throws(() => device.rom(new Uint8Array(1)), { code: 'EEXIST' })
  })
})

describe('PciDevice.intx()', () => {
  test('gives the function pin A and one vector, however many sources there are', () => {
    const { device, config } = pciDevice((pci) => {
      pci.intx()
      pci.intx()
    })
    assert.equal(config.read(INTERRUPT_PIN, 1), 1)
    assert.equal(device.irqs[INTX]?.count, 1)
  })

  test('without it the pin reads 0', () => {
    const { config } = pciDevice((pci) => pci.msi(1))
    assert.equal(config.read(INTERRUPT_PIN, 1), 0)
  })

  test('shows the level in Status, also with Interrupt Disable set, which holds the interrupt back', () => {
    const signal = new FakeSignal()
    let lines: { set(asserted: boolean): void }[] = []
    const { device, config } = pciDevice((pci) => {
      lines = [pci.intx(), pci.intx()]
    })
    device.irqs[INTX]?.assign(0, [signal])
    const status = () => config.read(STATUS, 2) & STATUS_INTERRUPT

    config.write(COMMAND, COMMAND_INTX_DISABLE, 2)
    lines[0]?.set(true)
    lines[1]?.set(true)
    assert.equal(status(), STATUS_INTERRUPT)
    assert.equal(signal.fired, 0)
    config.write(COMMAND, 0x07, 1) // the byte beside it
    assert.equal(signal.fired, 0)
    config.write(COMMAND + 1, 0, 1)
    assert.equal(signal.fired, 1)
    config.write(STATUS, 0xffff, 2) // it is no error bit: it stays
    assert.equal(status(), STATUS_INTERRUPT)
    lines[0]?.set(false)
    assert.equal(status(), STATUS_INTERRUPT)
    lines[1]?.set(false)
    assert.equal(status(), 0)
  })
})

describe('PciDevice.msi() and msix()', () => {
  for (const count of [0, 3, 5, 33, 64, -1, 1.5, Number.NaN]) {
    test(`msi(${count}) is EINVAL`, () => {
      assert.throws(() => new PciDevice(IDENTITY).msi(count), { code: 'EINVAL' })
    })
  }

  for (const count of [0, 2049, -1, 1.5, Number.NaN]) {
    test(`msix(${count}) is EINVAL`, () => {
      assert.throws(() => new PciDevice(IDENTITY).msix(count), { code: 'EINVAL' })
    })
  }

  test('a second time are EEXIST', () => {
    const device = new PciDevice(IDENTITY)
    device.msi(1)
    device.msix(1)
    assert.throws(() => device.msi(1), { code: 'EEXIST' })
    assert.throws(() => device.msix(1, { bar: 0 }), { code: 'EEXIST' })
  })

  test('msix() in a BAR that is taken is EEXIST', () => {
    const device = new PciDevice(IDENTITY)
    device.bar(3, { kind: 'mem64', size: 4096 }, NOTHING)
    assert.throws(() => device.msix(1), { code: 'EEXIST' })
    assert.throws(() => device.msix(1, { bar: 6 }), { code: 'EINVAL' })
  })

  test('msix() has table and pending bits in a BAR of its own, reset with the device', () => {
    let vectors: readonly { trigger(): void }[] = []
    const { device } = pciDevice((pci) => {
      vectors = pci.msix(4, { bar: 1 })
    })
    const bar = new Window(device, 1)
    assert.equal(bar.size, 4096)
    vectors[2]?.trigger()
    assert.equal(bar.read(0x800, 4), 1 << 2)
    bar.write(2 * 16 + 12, 0, 4) // PCI_MSIX_ENTRY_VECTOR_CTRL: unmask
    device.reset('device')
    assert.equal(bar.read(0x800, 4), 0)
    assert.equal(bar.read(2 * 16 + 12, 4), 1)
    const signal = new FakeSignal()
    device.irqs[MSIX]?.assign(2, [signal])
    assert.equal(signal.fired, 0)
    vectors[2]?.trigger()
    assert.equal(signal.fired, 1)
  })
})

describe('PciDevice.seal()', () => {
  for (const [name, call] of Object.entries<(device: PciDevice) => void>({
    intx: (device) => device.intx(),
    msi: (device) => device.msi(1),
    msix: (device) => device.msix(1),
    bar: (device) => device.bar(0, { kind: 'io', size: 8 }, NOTHING),
    rom: (device) => device.rom(new Uint8Array(1)),
    powerManagement: (device) => device.powerManagement(),
    express: (device) => device.express(),
    vendorCapability: (device) => device.vendorCapability(new Uint8Array(1)),
  })) {
    test(`makes ${name}() EBUSY`, () => {
      const { device, config } = pciDevice(() => {})
      const before = config.bytes()
      assert.throws(() => call(device), { code: 'EBUSY' })
      assert.deepEqual(config.bytes(), before)
    })
  }
})

describe('PciDevice.reset()', () => {
  test('brings all of configuration space back, whatever the guest wrote', () => {
    const { device, config } = pciDevice(EVERYTHING)
    const powerOn = config.bytes()
    const exceptResets = (offset: number) =>
      // the words whose writing is a reset, in Express and in power management
      capabilitiesOf(config).some(
        ({ id, at }) => (id === 0x10 && offset === at + 8) || (id === 0x01 && offset === at + 4),
      )
    for (const why of ['device', 'disconnect', 'flr'] as const) {
      for (let offset = 0; offset < 4096; offset += 4) {
        if (!exceptResets(offset)) config.write(offset, 0xffff_ffff, 4)
      }
      assert.notDeepEqual(config.bytes(), powerOn)
      device.reset(why)
      assert.deepEqual(config.bytes(), powerOn)
    }
  })

  test('asks the driver first, while interrupts and configuration still are as they were', () => {
    const seen: unknown[] = []
    const signal = new FakeSignal()
    let line = { set: (_asserted: boolean) => {} }
    const { device, config, resets } = pciDevice(
      (pci) => {
        line = pci.intx()
      },
      {
        onReset: (why: ResetCause) => {
          seen.push(why, config.read(COMMAND, 2))
          line.set(false)
        },
      },
    )
    device.irqs[INTX]?.assign(0, [signal])
    line.set(true)
    config.write(COMMAND, 0x406, 2)
    device.reset('device')
    assert.deepEqual(seen, ['device', 0x406])
    assert.deepEqual(resets, ['device'])
    assert.equal(config.read(COMMAND, 4), 0)
    assert.equal(signal.fired, 1)
  })

  test('ends Interrupt Disable: a line that the driver leaves asserted interrupts, and shows in Status', () => {
    const signal = new FakeSignal()
    let line = { set: (_asserted: boolean) => {} }
    const { device, config } = pciDevice((pci) => {
      line = pci.intx()
    })
    device.irqs[INTX]?.assign(0, [signal])
    config.write(COMMAND, COMMAND_INTX_DISABLE, 2)
    line.set(true)
    device.reset('device')
    assert.equal(signal.fired, 1)
    assert.equal(config.read(STATUS, 2), STATUS_INTERRUPT)
  })

  test('takes back Status of a line that was asserted in probe', () => {
    let line = { set: (_asserted: boolean) => {} }
    const { device, config } = pciDevice(
      (pci) => {
        line = pci.intx()
        line.set(true)
      },
      { onReset: () => line.set(false) },
    )
    assert.equal(config.read(STATUS, 2), STATUS_INTERRUPT)
    device.reset('device')
    assert.equal(config.read(STATUS, 2), 0)
  })

  test('keeps the signals that the client assigned', () => {
    const { device } = pciDevice(EVERYTHING)
    const signals = [INTX, MSI, MSIX, ERR, REQ].map((index) => {
      const signal = new FakeSignal()
      device.irqs[index]?.assign(0, [signal])
      return signal
    })
    device.reset('device')
    for (const [index, signal] of signals.entries()) {
      device.irqs[index]?.loopback(0, 1)
      assert.deepEqual([signal.closed, signal.fired], [0, 1], `irq index ${index}`)
    }
  })
})
