/** A PCI function as a driver builds it, in `probe`. */
import type { IrqLine, IrqVector } from './irq-line.ts'
import type { BarInfo, Registers } from './registers.ts'

/** Who the function says it is. */
export interface PciIdentity {
  readonly vendor: number
  readonly device: number
  /** 24 bits: base class, subclass, programming interface, such as 0x07_00_02. */
  readonly class: number
  readonly revision?: number
  /** The subsystem ids; the ids above unless given. */
  readonly subsystemVendor?: number
  readonly subsystem?: number
}

/** What makes a device go back to its power-on state. */
export type ResetCause = 'device' | 'flr' | 'disconnect'

/** Assembles a PCI function. Each method is called from `probe` only; the function is fixed when `probe` returns. */
export interface PciFunction {
  /** One more source of the interrupt pin INTA#. */
  intx(): IrqLine
  /** Adds the MSI capability. @param count vectors: 1, 2, 4, 8, 16 or 32 */
  msi(count: number): readonly IrqVector[]
  /**
   * Adds the MSI-X capability; its table and pending bits get a BAR of their own.
   *
   * @param count   vectors, 1 to 2048
   * @param options which BAR to take, 4 unless given
   */
  msix(count: number, options?: { readonly bar?: number }): readonly IrqVector[]
  /**
   * Backs a BAR with registers.
   *
   * @param index 0 to 5; a 64-bit BAR takes the next index too
   * @throws EEXIST the index is taken · EINVAL a size that is no power of two, an index out of range, prefetchable I/O
   */
  bar(index: number, info: BarInfo, registers: Registers): void
  /** Adds an expansion ROM; padded with 0xff to a power of two. @throws EEXIST a second one · EINVAL beyond 16 MiB */
  rom(content: Uint8Array): void
  /** Adds PCI power management; going from D3hot to D0 resets the device. */
  powerManagement(): void
  /** Makes this a PCI Express endpoint, with 4 KiB of configuration space and function level reset. */
  express(): void
  /** Adds a vendor-specific capability. @param body what follows id, next pointer and length */
  vendorCapability(body: Uint8Array): void
}
