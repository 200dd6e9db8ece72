/** Doorbells: registers that a client writes to say that there is work, by message or by eventfd. */
import type { Registers, Width } from './registers.ts'

/** Where a doorbell is. */
export interface DoorbellInfo {
  /** In the BAR, bytes; a multiple of `width`. */
  readonly offset: number
  /** Bytes of a write that rings it; 4 unless given. */
  readonly width?: Width
}

/** One doorbell. It rings however its value comes. */
export interface Doorbell {
  readonly offset: number
  readonly width: Width
  /** Whether it lies in I/O space. */
  readonly isPort: boolean
  /** @param value unsigned, of the doorbell's width */
  ring(value: number): void
}

/** Registers some of which are doorbells: a write of just the place and width of one rings it, all else goes on. */
export class DoorbellRegisters implements Registers {
  readonly #registers: Registers
  readonly #doorbells = new Map<number, Doorbell>()

  constructor(registers: Registers) {
    this.#registers = registers
  }

  add(doorbell: Doorbell): void {
    this.#doorbells.set(doorbell.offset, doorbell)
  }

  read(offset: number, width: Width): number {
    return this.#registers.read(offset, width)
  }

  write(offset: number, value: number, width: Width): void {
    const doorbell = this.#doorbells.get(offset)
    if (doorbell?.width === width) doorbell.ring(value)
    else this.#registers.write(offset, value, width)
  }
}
