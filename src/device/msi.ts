/** MSI and MSI-X: vectors that are edges. An MSI-X vector that cannot be sent now stays pending, as the PBA shows. */
import * as vfio from '../abi/vfio.ts'
import { IrqIndex } from './irq.ts'
import type { IrqVector } from './irq-line.ts'

export class MsiIrq extends IrqIndex {
  readonly #keepsPending: boolean
  readonly #pending: Uint8Array
  /** What a driver triggers. */
  readonly vectors: readonly IrqVector[]

  /** @param index VFIO_PCI_MSI_IRQ_INDEX or VFIO_PCI_MSIX_IRQ_INDEX */
  constructor(index: number, count: number) {
    super(index, count, vfio.VFIO_IRQ_INFO_EVENTFD)
    this.#keepsPending = index === vfio.VFIO_PCI_MSIX_IRQ_INDEX
    this.#pending = new Uint8Array(count)
    this.vectors = Array.from({ length: count }, (_, vector) => ({
      trigger: () => this.#trigger(vector),
    }))
  }

  isPending(vector: number): boolean {
    return this.#pending[vector] === 1
  }

  override reset(): void {
    this.#pending.fill(0)
  }

  override save(): Uint8Array {
    return this.#pending.slice()
  }

  override load(pending: Uint8Array): void {
    this.#pending.set(pending)
  }

  protected override released(): void {
    for (const [vector, pending] of this.#pending.entries())
      if (pending === 1) this.#trigger(vector)
  }

  protected override assigned(vector: number, present: boolean): void {
    if (present && this.isPending(vector)) this.#trigger(vector)
  }

  protected override setMasked(): void {} // masks live in the client, which holds interrupts back itself

  #trigger(vector: number): void {
    const sent = this.send(vector)
    this.#pending[vector] = !sent && (this.#keepsPending || this.held) ? 1 : 0
  }
}
