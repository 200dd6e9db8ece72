/** A PCI function with memory in its BARs in every way, and with doorbells, open to the test. */
import {
  defineDriver,
  type Driver,
  type IrqVector,
  type Registers,
  type SharedMemory,
} from '../../src/index.ts'

/** BAR 0: registers, and the doorbells below. */
export const REGISTERS_SIZE = 0x1000
/** Offset and width; one of each. */
export const DOORBELLS = [
  [0x10, 4],
  [0x22, 2],
  [0x31, 1],
] as const
/** A doorbell that throws when it rings. */
export const BROKEN_DOORBELL = 0x40
/** BAR 1: memory smaller than a page. */
export const SMALL_SIZE = 0x100
/** BAR 2 and 3: memory, but for the MSI-X table and its pending bits. */
export const BIG_SIZE = 0x1_0000
export const MSIX_OFFSET = 0x8000
/** BAR 4: memory in parts, of which not all are whole pages, and one is of another file. */
export const SPARSE_SIZE = 0x8000
export const SPARSE_MEMORY_SIZE = 0x7000
export const OTHER_AREA = { offset: 0x3000, size: 0x1000 }
/** BAR 5: memory, all of it. */
export const WHOLE_SIZE = 0x2000
/** Region 9: of the device's own. */
export const OWN_TYPE = { type: 0x8000_1b36, subtype: 7 }
export const OWN_SIZE = 0x1800

/** 'r' or 'w', region, offset, width, and for writes the value. */
export type Access = readonly ['r' | 'w', number, number, number, number?]

export class MappedDevice {
  readonly driver: Driver
  /** What reached registers, in order. */
  readonly log: Access[] = []
  /** What rang: offset and value. */
  readonly rings: (readonly [number, number])[] = []
  onRing: () => void = () => {}
  small!: SharedMemory
  big!: SharedMemory
  sparse!: SharedMemory
  other!: SharedMemory
  whole!: SharedMemory
  own!: SharedMemory
  msix!: readonly IrqVector[]

  constructor() {
    this.driver = defineDriver({
      name: 'mapped',
      types: { 1: {} },
      probe: (mdev) => {
        const pci = mdev.pci({ vendor: 0x1b36, device: 0xbe13, class: 0xff_00_00 })
        this.small = mdev.sharedMemory(SMALL_SIZE)
        this.big = mdev.sharedMemory(BIG_SIZE)
        this.sparse = mdev.sharedMemory(SPARSE_MEMORY_SIZE)
        this.other = mdev.sharedMemory(OTHER_AREA.size)
        this.whole = mdev.sharedMemory(WHOLE_SIZE)
        this.own = mdev.sharedMemory(OWN_SIZE)
        pci.bar(0, { kind: 'mem32', size: REGISTERS_SIZE }, this.#registers(0))
        for (const [offset, width] of DOORBELLS) {
          pci.doorbell(0, { offset, width }, (value) => {
            this.rings.push([offset, value])
            this.onRing()
          })
        }
        pci.doorbell(0, { offset: BROKEN_DOORBELL }, () => {
          throw new Error('a bug of the driver')
        })
        pci.bar(1, { kind: 'mem32', size: SMALL_SIZE, memory: this.small })
        pci.bar(2, { kind: 'mem64', size: BIG_SIZE, prefetchable: true, memory: this.big })
        this.msix = pci.msix(4, { bar: 2, offset: MSIX_OFFSET })
        const areas = [
          { offset: 0x1000, size: 0x1000 },
          { ...OTHER_AREA, memory: this.other },
          { offset: 0x4800, size: 0x2800 },
        ]
        pci.bar(
          4,
          { kind: 'mem32', size: SPARSE_SIZE, memory: this.sparse, areas },
          this.#registers(4),
        )
        pci.bar(5, { kind: 'mem32', size: WHOLE_SIZE, memory: this.whole }, this.#registers(5))
        pci.region({ ...OWN_TYPE, size: OWN_SIZE, memory: this.own }, this.#registers(9))
        return { reset: () => {} }
      },
    })
  }

  /** Registers that read as what they lie at. */
  #registers(region: number): Registers {
    return {
      read: (offset, width) => {
        this.log.push(['r', region, offset, width])
        return offset + 0xa000_0000
      },
      write: (offset, value, width) => {
        this.log.push(['w', region, offset, width, value])
      },
    }
  }
}
