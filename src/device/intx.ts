/** INTx: a level-triggered pin that is asserted while any of its sources is, and masks itself when it interrupts. */
import * as vfio from '../abi/vfio.ts'
import { IrqIndex } from './irq.ts'
import type { IntxLine } from './irq-line.ts'

const FLAGS =
  vfio.VFIO_IRQ_INFO_EVENTFD | vfio.VFIO_IRQ_INFO_MASKABLE | vfio.VFIO_IRQ_INFO_AUTOMASKED

export class IntxIrq extends IrqIndex {
  readonly #onLevel: (asserted: boolean) => void
  #asserted = 0
  #masked = false
  #disabled = false

  /**
   * @param count   1, or 0 for a function without an interrupt pin
   * @param onLevel told whenever the pin changes, for the Status register
   */
  constructor(count: 0 | 1, onLevel: (asserted: boolean) => void = () => {}) {
    super(vfio.VFIO_PCI_INTX_IRQ_INDEX, count, FLAGS)
    this.#onLevel = onLevel
  }

  /** A new source of the pin, deasserted. */
  source(): IntxLine {
    let level = false
    const isConnected = () => this.enabled
    return {
      get connected() {
        return isConnected()
      },
      set: (asserted) => {
        if (asserted === level) return
        level = asserted
        this.#asserted += asserted ? 1 : -1
        if (this.#asserted === (asserted ? 1 : 0)) {
          this.#onLevel(asserted)
          if (asserted) this.#evaluate()
        }
      },
    }
  }

  get asserted(): boolean {
    return this.#asserted > 0
  }

  /** The guest's Interrupt Disable bit in the Command register. */
  set disabledByCommand(disabled: boolean) {
    this.#disabled = disabled
    if (!disabled) this.#evaluate()
  }

  override reset(): void {
    this.#disabled = false
    this.#evaluate()
  }

  protected override released(): void {
    this.#evaluate()
  }

  protected override assigned(_vector: number, present: boolean): void {
    this.#masked = false
    if (present) this.#evaluate()
  }

  protected override setMasked(_vector: number, masked: boolean): void {
    this.#masked = masked
    if (!masked) this.#evaluate() // the level may have outlived the mask
  }

  #evaluate(): void {
    if (this.#asserted === 0 || this.#masked || this.#disabled) return
    if (this.send(0)) this.#masked = true // until the client unmasks it
  }
}
