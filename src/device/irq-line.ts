/** Interrupts as a driver sees them: lines are levels, vectors are edges. */

/** One source of a level-triggered interrupt. The pin is asserted while any of its sources is. */
export interface IrqLine {
  /** Asserts or deasserts this source; setting it to what it is costs nothing. */
  set(asserted: boolean): void
}

/** A source of the pin of a PCI function. */
export interface IntxLine extends IrqLine {
  /** Whether the client listens to the pin now. It does not while the guest uses MSI or MSI-X. */
  readonly connected: boolean
}

/** One MSI or MSI-X vector. */
export interface IrqVector {
  /** Sends the message once, or keeps it pending while the client has masked or not yet connected the vector (MSI-X). */
  trigger(): void
}
