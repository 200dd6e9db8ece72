/** The MSI-X table and its pending bits, as registers of a BAR of their own. */
import * as pci from '../abi/pci.ts'
import type { MsiIrq } from './msi.ts'
import type { Registers, Width } from './registers.ts'

/** Most vectors whose table and pending bits share one page. */
const MAX_SMALL = 128
const SMALL = { size: 0x1000, pbaOffset: 0x800 }
const LARGE = { size: 0x10000, pbaOffset: 0x8000 }

/**
 * QEMU keeps the table itself and never sends writes of it here; other clients may. The vectors' signals come from the
 * client either way, so what the table holds is only kept. The pending bits are ours.
 */
export class MsixTable implements Registers {
  readonly size: number
  readonly pbaOffset: number
  readonly #irq: MsiIrq
  readonly #entries: DataView

  constructor(irq: MsiIrq) {
    this.#irq = irq
    const { size, pbaOffset } = irq.count <= MAX_SMALL ? SMALL : LARGE
    this.size = size
    this.pbaOffset = pbaOffset
    this.#entries = new DataView(new ArrayBuffer(irq.count * pci.PCI_MSIX_ENTRY_SIZE))
    this.reset()
  }

  /** All vectors masked. */
  reset(): void {
    for (let vector = 0; vector < this.#irq.count; vector++) {
      const entry = vector * pci.PCI_MSIX_ENTRY_SIZE
      for (let at = 0; at < pci.PCI_MSIX_ENTRY_SIZE; at += 4) {
        const masked = at === pci.PCI_MSIX_ENTRY_VECTOR_CTRL
        this.#entries.setUint32(entry + at, masked ? pci.PCI_MSIX_ENTRY_CTRL_MASKBIT : 0, true)
      }
    }
  }

  /** The table, for {@link load}; the pending bits are of the vectors. */
  save(): Uint8Array {
    return new Uint8Array(this.#entries.buffer).slice()
  }

  load(table: Uint8Array): void {
    new Uint8Array(this.#entries.buffer).set(table)
  }

  read(offset: number, width: Width): number {
    let value = 0
    for (let i = 0; i < width; i++) value += this.#byte(offset + i) * 2 ** (8 * i)
    return value
  }

  write(offset: number, value: number, width: Width): void {
    for (let i = 0; i < width; i++) {
      if (offset + i < this.#entries.byteLength) {
        this.#entries.setUint8(offset + i, (value >>> (8 * i)) & 0xff)
      }
    }
  }

  #byte(offset: number): number {
    if (offset < this.#entries.byteLength) return this.#entries.getUint8(offset)
    const first = (offset - this.pbaOffset) * 8
    if (first < 0 || first >= this.#irq.count) return 0
    let byte = 0
    for (let bit = 0; bit < 8; bit++) {
      if (first + bit < this.#irq.count && this.#irq.isPending(first + bit)) byte |= 1 << bit
    }
    return byte
  }
}
