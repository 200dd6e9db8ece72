/** A PCI function with something of everything, written against the SDK like any driver, and open to the test. */
import {
  defineDriver,
  type Dma,
  type Driver,
  ErrnoError,
  type IrqLine,
  type IrqVector,
  type ResetCause,
} from '../../src/index.ts'

/** Registers of BAR 0; below {@link SCRATCH_SIZE} are bytes that read back as written. */
export const SCRATCH_SIZE = 0x100
export const REGISTER = {
  /** Accesses throw a plain Error. */
  bug: 0x100,
  /** Accesses throw ENODEV. */
  refusing: 0x104,
  /** How often the registers were accessed, this access included. */
  accesses: 0x108,
  /** The level of INTA#. */
  intx: 0x10c,
  /** Writing n triggers vector n. */
  msi: 0x110,
  msix: 0x114,
  /** Writing calls {@link TestDevice.onWrite}. */
  hook: 0x118,
} as const

export const BAR0_SIZE = 0x1000
/** BAR 1: I/O ports, one byte wide, of which the first counts its reads. */
export const PORTS_SIZE = 8
/** BAR 2 and 3: prefetchable memory above 4 GiB, larger than one transfer. */
export const BIG_SIZE = 4 * 2 ** 20
export const MSI_VECTORS = 8
/** More than fit into one SET_IRQS. */
export const MSIX_VECTORS = 20
export const MSIX_BAR = 4
export const MSIX_PBA = 0x800
export const ROM = Buffer.from('55aa04', 'hex')
/** The least that a ROM takes. */
export const ROM_SIZE = 2048

/** One access: 'r' or 'w', region, offset, width. */
export type Access = readonly [kind: 'r' | 'w', bar: number, offset: number, width: number]

export class TestDevice {
  readonly driver: Driver
  readonly scratch = Buffer.alloc(SCRATCH_SIZE)
  readonly big = Buffer.alloc(BIG_SIZE)
  /** What reached the registers, in order. */
  readonly log: Access[] = []
  readonly resets: ResetCause[] = []
  line!: IrqLine
  msi!: readonly IrqVector[]
  msix!: readonly IrqVector[]
  dma!: Dma
  onWrite: () => void = () => {}
  #accesses = 0
  #level = 0

  constructor() {
    this.driver = defineDriver({
      name: 'test',
      types: { 1: { name: 'Test device' } },
      probe: (mdev) => {
        const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
        this.dma = mdev.dma
        this.line = pci.intx()
        this.msi = pci.msi(MSI_VECTORS)
        this.msix = pci.msix(MSIX_VECTORS, { bar: MSIX_BAR })
        pci.bar(0, { kind: 'mem32', size: BAR0_SIZE }, this.#bar(0, this.#registers()))
        pci.bar(1, { kind: 'io', size: PORTS_SIZE, maxWidth: 1 }, this.#bar(1, ports()))
        const { big } = this
        pci.bar(
          2,
          { kind: 'mem64', size: BIG_SIZE, prefetchable: true },
          {
            read: (offset, width) => big.readUIntLE(offset, width),
            write: (offset, value, width) => void big.writeUIntLE(value, offset, width),
          },
        )
        pci.rom(ROM)
        return { reset: (why) => this.#reset(why) }
      },
    })
  }

  #reset(why: ResetCause): void {
    this.resets.push(why)
    this.scratch.fill(0)
    this.#accesses = 0
    this.#level = 0
    this.line.set(false)
  }

  /** Notes what reaches the registers. */
  #bar(bar: number, registers: TestRegisters): TestRegisters {
    return {
      read: (offset, width) => {
        this.log.push(['r', bar, offset, width])
        return registers.read(offset, width)
      },
      write: (offset, value, width) => {
        this.log.push(['w', bar, offset, width])
        registers.write(offset, value, width)
      },
    }
  }

  #registers(): TestRegisters {
    return {
      read: (offset, width) => {
        this.#accesses++
        if (offset < SCRATCH_SIZE) return this.scratch.readUIntLE(offset, width)
        switch (offset) {
          case REGISTER.bug:
            throw new Error('a bug of the driver')
          case REGISTER.refusing:
            throw new ErrnoError('ENODEV', 'the register refuses')
          case REGISTER.accesses:
            return this.#accesses
          case REGISTER.intx:
            return this.#level
          default:
            return 0
        }
      },
      write: (offset, value, width) => {
        this.#accesses++
        if (offset < SCRATCH_SIZE) this.scratch.writeUIntLE(value, offset, width)
        switch (offset) {
          case REGISTER.bug:
            throw new Error('a bug of the driver')
          case REGISTER.refusing:
            throw new ErrnoError('ENODEV', 'the register refuses')
          case REGISTER.intx:
            this.#level = value & 1
            this.line.set(this.#level === 1)
            break
          case REGISTER.msi:
            this.msi[value]?.trigger()
            break
          case REGISTER.msix:
            this.msix[value]?.trigger()
            break
          case REGISTER.hook:
            this.onWrite()
            break
          default:
        }
      },
    }
  }
}

interface TestRegisters {
  read(offset: number, width: 1 | 2 | 4): number
  write(offset: number, value: number, width: 1 | 2 | 4): void
}

function ports(): TestRegisters {
  let reads = 0
  return {
    read: (offset) => (offset === 0 ? ++reads & 0xff : offset),
    write: () => {},
  }
}
