/** What migrates of a PCI function, and what a hostile state of one is refused for. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { decodeState, type DeviceState, encodeState } from '../../src/device/device-state.ts'
import type { IrqLine, IrqVector } from '../../src/device/irq-line.ts'
import type { Migration } from '../../src/device/migration.ts'
import { PciDevice } from '../../src/device/pci-device.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { capabilityAt, configOf, FakeSignal, INTX, MSI, MSIX, NOTHING, Window } from './support.ts'

// <linux/pci_regs.h>
const COMMAND = 0x04
const STATUS = 0x06
const BAR1 = 0x14
const INTERRUPT_LINE = 0x3c
const STATUS_INTERRUPT = 0x08
const CAP_PM = 0x01
const CAP_EXP = 0x10

/** A function with one register, a pin and vectors, which can migrate. */
class TestFunction {
  readonly device: PciDevice
  readonly config: Window
  readonly migration: Migration
  readonly line: IrqLine
  readonly msi: readonly IrqVector[]
  readonly msix: readonly IrqVector[]
  register = 0
  asserted = false
  resets = 0
  readonly held: boolean[] = []
  onLoad: () => void = () => {}

  constructor({ id = 'test', version = 3, vectors = 10, revision = 1 } = {}) {
    this.device = new PciDevice({ vendor: 0x1b36, device: 0xbe14, class: 0xff_00_00, revision })
    this.line = this.device.intx()
    this.msi = this.device.msi(4)
    this.msix = this.device.msix(vectors)
    this.device.powerManagement()
    this.device.express()
    this.device.bar(1, { kind: 'mem32', size: 4096 }, NOTHING)
    this.device.seal(() => {
      this.resets++
      this.register = 0
      this.set(false)
    })
    const state: DeviceState = {
      id,
      version,
      save: () => Uint8Array.of(this.register, this.asserted ? 1 : 0),
      load: (bytes) => {
        if (bytes.length !== 2) throw new ErrnoError('EINVAL', 'not of two bytes')
        this.register = bytes[0]!
        this.set(bytes[1] === 1)
        this.onLoad()
      },
    }
    this.device.enableMigration(state, (held) => this.held.push(held))
    assert.ok(this.device.migration)
    this.migration = this.device.migration
    this.config = configOf(this.device)
  }

  set(asserted: boolean): void {
    this.asserted = asserted
    this.line.set(asserted)
  }

  assign(irq: number, vector = 0): FakeSignal {
    const signal = new FakeSignal()
    this.device.irqs[irq]?.assign(vector, [signal])
    return signal
  }

  save(): Uint8Array {
    this.migration.go('stop-copy')
    return this.migration.read(2 ** 20).slice()
  }

  load(stream: Uint8Array): void {
    this.migration.go('resuming')
    this.migration.write(stream)
    this.migration.go('stop')
  }

  /** All that can be seen of it. */
  get seen() {
    return {
      config: Buffer.from(this.config.bytes()).toString('hex'),
      table: Buffer.from(new Window(this.device, 4).bytes()).toString('hex'),
      register: this.register,
      asserted: this.asserted,
    }
  }
}

/** Everything that a guest and a device can change, changed. */
function used(): TestFunction {
  const source = new TestFunction()
  source.config.write(COMMAND, 0x407, 2)
  source.config.write(BAR1, 0xfebd_1000, 4)
  source.config.write(INTERRUPT_LINE, 11, 1)
  source.config.write(capabilityAt(source.config, CAP_PM) + 4, 3, 2)
  const table = new Window(source.device, 4)
  for (let at = 0; at < 160; at += 4) table.write(at, 0x01020300 + at, 4)
  source.msix[3]?.trigger()
  source.msix[9]?.trigger()
  source.register = 0x5a
  source.set(true)
  return source
}

describe('a PCI function that migrates', () => {
  test('looks the same in another host', () => {
    const source = used()
    const target = new TestFunction()
    target.config.write(COMMAND, 0x103, 2)
    target.load(source.save())
    assert.deepEqual(target.seen, source.seen)
    assert.equal(target.config.read(STATUS, 2) & STATUS_INTERRUPT, STATUS_INTERRUPT)
    assert.equal(target.migration.state, 'stop')
  })

  test('powers up from the D3hot that it came in: a reset', () => {
    const target = new TestFunction()
    target.load(used().save())
    target.migration.go('running')
    const resets = target.resets
    target.config.write(capabilityAt(target.config, CAP_PM) + 4, 0, 2)
    assert.equal(target.resets, resets + 1)
  })

  test('keeps Interrupt Disable of the guest', () => {
    const target = new TestFunction()
    const signal = target.assign(INTX)
    target.load(used().save())
    target.migration.go('running')
    assert.equal(signal.fired, 0)
    target.config.write(COMMAND, 7, 2)
    assert.equal(signal.fired, 1)
  })

  test('sends what was pending when it runs again', () => {
    const source = new TestFunction()
    source.msix[3]?.trigger()
    source.set(true)
    const target = new TestFunction()
    const signals = [target.assign(INTX), target.assign(MSIX, 3), target.assign(MSIX, 4)]
    target.load(source.save())
    assert.deepEqual(
      signals.map(({ fired }) => fired),
      [0, 0, 0],
    )
    target.migration.go('running')
    assert.deepEqual(
      signals.map(({ fired }) => fired),
      [1, 1, 0],
    )
    target.device.irqs[INTX]?.unmask(0, 1)
    assert.equal(signals[0]?.fired, 2, 'the level is still high')
  })

  test('sends nothing while it is stopped, and what was due later', () => {
    const device = new TestFunction()
    const signals = [device.assign(INTX), device.assign(MSI, 1), device.assign(MSIX, 2)]
    device.migration.go('stop')
    device.set(true)
    device.msi[1]?.trigger()
    device.msix[2]?.trigger()
    assert.deepEqual(
      signals.map(({ fired }) => fired),
      [0, 0, 0],
    )
    device.migration.go('running')
    assert.deepEqual(
      signals.map(({ fired }) => fired),
      [1, 1, 1],
    )
    device.migration.go('stop')
    device.migration.go('running')
    assert.deepEqual(
      signals.map(({ fired }) => fired),
      [1, 1, 1],
      'once',
    )
  })

  test('takes an MSI along that came up while it was stopped', () => {
    const source = new TestFunction()
    source.migration.go('stop')
    source.msi[2]?.trigger()
    const target = new TestFunction()
    const signal = target.assign(MSI, 2)
    target.load(source.save())
    target.migration.go('running')
    assert.equal(signal.fired, 1)
  })

  test('forgets an MSI that nobody is connected to, as ever', () => {
    const device = new TestFunction()
    device.migration.go('stop')
    device.msi[2]?.trigger()
    device.migration.go('running')
    assert.equal(device.assign(MSI, 2).fired, 0)
  })

  test('shuts guest memory while it is stopped', () => {
    const device = new TestFunction()
    device.migration.go('stop-copy')
    device.migration.go('running')
    assert.deepEqual(device.held, [true, false])
  })

  test('gets an older state with its version', () => {
    const stream = new TestFunction({ version: 1 }).save()
    const target = new TestFunction()
    target.load(stream)
    assert.equal(target.migration.state, 'stop')
  })

  test('is reset when its driver refuses half-way, and tells why', () => {
    const target = new TestFunction()
    const fresh = target.seen
    target.onLoad = () => {
      throw new ErrnoError('ENODEV', 'not now')
    }
    assert.throws(() => target.load(used().save()), { code: 'ENODEV' })
    assert.deepEqual(target.seen, fresh)
    assert.equal(target.migration.state, 'resuming')
  })
})

const ENVELOPE = 40

/** A state of `used()` with bytes changed. */
function spoilt(change: (bytes: Buffer) => Buffer | void): Buffer {
  const bytes = Buffer.from(used().save())
  return change(bytes) ?? bytes
}

const IDENTITY = { id: 'test', version: 3 }

/** A state whose envelope is right, with parts changed. */
function withParts(change: { config?: Uint8Array; interrupts?: Uint8Array; device?: Uint8Array }) {
  const { config, interrupts, device } = decodeState(IDENTITY, used().save())
  return encodeState(IDENTITY, { config, interrupts, device, ...change })
}

const savedConfig = () => decodeState(IDENTITY, used().save()).config.slice()

function configWith(at: number, byte: number): Uint8Array {
  const config = savedConfig()
  config[at] = byte
  return config
}

const BAD: readonly [title: string, stream: () => Uint8Array][] = [
  ['one byte', () => Uint8Array.of(1)],
  ['an envelope cut short', () => spoilt((bytes) => bytes.subarray(0, ENVELOPE - 1))],
  ['an envelope alone', () => spoilt((bytes) => bytes.subarray(0, ENVELOPE))],
  ['a byte too few', () => spoilt((bytes) => bytes.subarray(0, -1))],
  ['a byte too many', () => spoilt((bytes) => Buffer.concat([bytes, Buffer.of(0)]))],
  ['another magic', () => spoilt((bytes) => void bytes.writeUInt8(0x4d, 0))],
  ['another format', () => spoilt((bytes) => void bytes.writeUInt32LE(2, 8))],
  ['a later version', () => spoilt((bytes) => void bytes.writeUInt32LE(4, 12))],
  [
    'an id size beyond the stream',
    () => spoilt((bytes) => void bytes.writeUInt32LE(0xffffffff, 16)),
  ],
  [
    'a part of 2^53 - 1 bytes',
    () => spoilt((bytes) => void bytes.writeBigUInt64LE(2n ** 53n - 1n, 32)),
  ],
  ['the id of another device', () => new TestFunction({ id: 'tess' }).save()],
  ['a longer id', () => new TestFunction({ id: 'test2' }).save()],
  ['another revision', () => new TestFunction({ revision: 2 }).save()],
  ['another vendor', () => withParts({ config: configWith(0, 0x37) })],
  ['a capability pointer', () => withParts({ config: configWith(0x34, 0xfc) })],
  ['a BAR of another size', () => withParts({ config: configWith(BAR1, 0x10) })],
  ['a config space cut short', () => withParts({ config: savedConfig().subarray(0, 256) })],
  ['no config space', () => withParts({ config: new Uint8Array(0) })],
  ['fewer vectors', () => new TestFunction({ vectors: 9 }).save()],
  ['no interrupts', () => withParts({ interrupts: new Uint8Array(0) })],
  ['a vector that is pending twice', () => withParts({ interrupts: new Uint8Array(174).fill(2) })],
  ['what the driver does not know', () => withParts({ device: new Uint8Array(3) })],
]

describe('a PCI function refuses a state with', () => {
  for (const [title, stream] of BAD) {
    test(`${title}: EINVAL, and stays in resuming`, () => {
      const target = new TestFunction()
      const fresh = target.seen
      assert.throws(() => target.load(stream()), { code: 'EINVAL' })
      assert.equal(target.migration.state, 'resuming')
      assert.deepEqual(target.seen, fresh)
    })
  }

  test('2^53 bytes in a part: EOVERFLOW', () => {
    const stream = spoilt((bytes) => void bytes.writeBigUInt64LE(2n ** 53n, 32))
    assert.throws(() => new TestFunction().load(stream), { code: 'EOVERFLOW' })
  })
})

test('a function level reset in a state is a reset, and no more', () => {
  const target = new TestFunction()
  const config = savedConfig()
  const control = capabilityAt(target.config, CAP_EXP) + 8
  config[control + 1] = config[control + 1]! | 0x80
  target.load(withParts({ config }))
  assert.equal(target.config.read(control, 2) & 0x8000, 0)
})

test('any bytes: loaded, or refused with an errno and nothing touched but by a reset', () => {
  const saved = Buffer.from(used().save())
  const streams = fc.oneof(
    fc.uint8Array({ minLength: 1, maxLength: 100 }),
    fc
      .array(fc.tuple(fc.nat(saved.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 })
      .map((changes) => {
        const bytes = Buffer.from(saved)
        for (const [at, byte] of changes) bytes[at] = byte
        return bytes
      }),
    fc.nat(saved.length).map((length) => saved.subarray(0, length)),
  )
  fc.assert(
    fc.property(streams, (stream) => {
      const target = new TestFunction()
      const fresh = target.seen
      try {
        target.load(stream)
        assert.equal(target.migration.state, 'stop')
      } catch (error) {
        assert.ok(error instanceof ErrnoError, String(error))
        assert.equal(target.migration.state, 'resuming')
        assert.deepEqual(target.seen, fresh)
      }
      // whatever was loaded, ids and capabilities are its own
      assert.deepEqual(target.config.read(0, 4), 0xbe14_1b36)
      capabilityAt(target.config, CAP_PM)
      target.migration.reset()
    }),
    { numRuns: 1000 },
  )
})

describe('PciDevice.enableMigration() refuses', () => {
  const good: DeviceState = { id: 'x', version: 0, save: () => new Uint8Array(0), load: () => {} }
  for (const [title, change] of [
    ['no id', { id: undefined }],
    ['an empty id', { id: '' }],
    ['an id of 256 bytes', { id: 'ä'.repeat(128) }],
    ['no version', { version: undefined }],
    ['version -1', { version: -1 }],
    ['version 1.5', { version: 1.5 }],
    ['version 2^32', { version: 2 ** 32 }],
    ['no save', { save: undefined }],
    ['no load', { load: undefined }],
  ] as const) {
    test(`a hook with ${title}: EINVAL`, () => {
      const device = new PciDevice({ vendor: 1, device: 1, class: 0 })
      device.seal(() => {})
      const state = { ...good, ...change } as DeviceState
      assert.throws(() => device.enableMigration(state, () => {}), { code: 'EINVAL' })
      assert.equal(device.migration, undefined)
    })
  }
})
