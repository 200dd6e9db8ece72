/** A PCI function as a driver builds it, in `probe`. */
import type { DoorbellInfo } from './doorbell.ts'
import type { IntxLine, IrqVector } from './irq-line.ts'
import type { BarInfo, OwnRegionInfo, Registers } from './registers.ts'

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
  intx(): IntxLine
  /** Adds the MSI capability. @param count vectors: 1, 2, 4, 8, 16 or 32 */
  msi(count: number): readonly IrqVector[]
  /**
   * Adds the MSI-X capability; its table and pending bits get a BAR of their own, unless there is an `offset`.
   *
   * @param count   vectors, 1 to 2048
   * @param options which BAR to take, 4 unless given; and where in it, a multiple of 4096, if it is one of the driver's, added
   *                before. Up to 128 vectors take 4 KiB, more take 64
   */
  msix(
    count: number,
    options?: { readonly bar?: number; readonly offset?: number },
  ): readonly IrqVector[]
  /**
   * Backs a BAR with registers, with memory, or with both.
   *
   * @param index     0 to 5; a 64-bit BAR takes the next index too
   * @param registers what is not memory; reads 0 and ignores writes unless given
   * @throws EEXIST the index is taken · EINVAL a size that is no power of two, an index out of range, prefetchable I/O, I/O
   *         with memory, memory that does not fit, neither registers nor memory
   */
  bar(index: number, info: BarInfo, registers?: Registers): void
  /**
   * Makes a register of a BAR, added before, a doorbell: `onRing` gets what is written to it. Writes of another width, and
   * reads, go to the BAR's registers.
   *
   * Clients that can, such as `mdevkit/client`, ring by eventfd and send no message: cheap for them, but of several rings that
   * come at once the driver may see fewer, or one value twice; the last value it always sees. They also may overtake accesses
   * by message. QEMU 11 writes by message.
   *
   * @throws ENOENT no such BAR · EINVAL outside of it, unaligned, or wider than its accesses · EEXIST overlaps another
   */
  doorbell(bar: number, info: DoorbellInfo, onRing: (value: number) => void): void
  /**
   * Adds a region of the device's own, which clients find by its type. A guest sees nothing of it, and QEMU does not ask for it.
   *
   * @returns its index, from 9 on
   * @throws EINVAL an empty region, ids that are no 32 bits, memory that does not fit
   */
  region(info: OwnRegionInfo, registers?: Registers): number
  /** Adds an expansion ROM; padded with 0xff to a power of two. @throws EEXIST a second one · EINVAL beyond 16 MiB */
  rom(content: Uint8Array): void
  /** Adds PCI power management; going from D3hot to D0 resets the device. */
  powerManagement(): void
  /** Makes this a PCI Express endpoint, with 4 KiB of configuration space and function level reset. */
  express(): void
  /** Adds a vendor-specific capability. @param body what follows id, next pointer and length */
  vendorCapability(body: Uint8Array): void
}
