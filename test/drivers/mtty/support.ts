/** What a UART is tested with: registers as the data sheet numbers them, and a line, an interrupt and a clock of ours. */
import type { SerialLine } from '../../../drivers/mtty/serial-line.ts'
import { Uart16550 } from '../../../drivers/mtty/uart-16550.ts'
import { FakeClock } from '../../support/fake-clock.ts'

// PC16550D data sheet, table "Register Addresses": offsets 0 to 7; the first two are the divisor latch with DLAB set.
export const RBR = 0
export const THR = 0
export const DLL = 0
export const DLM = 1
export const IER = 1
export const IIR = 2
export const FCR = 2
export const LCR = 3
export const MCR = 4
export const LSR = 5
export const MSR = 6
export const SCR = 7

/** A far end that takes and gives what the test says. */
export class FakeLine implements SerialLine {
  present = true
  /** Characters that wait for the guest. */
  input: number[] = []
  /** Bytes that the guest sent. */
  readonly output: number[] = []
  /** How many bytes it takes before it says no. */
  room = Number.POSITIVE_INFINITY
  readonly breaks: boolean[] = []
  rts: boolean | undefined
  unsent: readonly number[] = []
  unread: readonly number[] = []
  onChange = (): void => {}

  attach(onChange: () => void): void {
    this.onChange = onChange
  }
  send(byte: number): boolean {
    if (this.room === 0) return false
    this.room--
    this.output.push(byte)
    return true
  }
  receive(): number {
    return this.input.shift() ?? -1
  }
  setBreak(on: boolean): void {
    if (on !== (this.breaks.at(-1) ?? false)) this.breaks.push(on)
  }
  setRts(asserted: boolean | undefined): void {
    this.rts = asserted
  }
  hangUp(unsent: readonly number[], unread: readonly number[]): void {
    this.unsent = unsent
    this.unread = unread
  }

  /** The far end sends. */
  type(...chars: readonly number[]): void {
    this.input.push(...chars)
    this.onChange()
  }
  /** The far end takes `count` more bytes. */
  take(count: number): void {
    this.room = count
    this.onChange()
  }
  /** The far end comes or goes. */
  setPresent(present: boolean): void {
    this.present = present
    this.onChange()
  }
}

/** A UART with its surroundings. */
export class Bench {
  readonly line = new FakeLine()
  readonly clock = new FakeClock()
  readonly irq = {
    asserted: false,
    set(asserted: boolean) {
      this.asserted = asserted
    },
  }
  readonly uart = new Uart16550(this.irq, this.line, this.clock)

  /** Reads a register. */
  r(offset: number): number {
    return this.uart.read(offset)
  }
  /** Writes a register. */
  w(offset: number, ...values: readonly number[]): void {
    for (const value of values) this.uart.write(offset, value)
  }
  /** Reads as a polling guest does, while LSR says that there is something. */
  readAll(): number[] {
    const bytes: number[] = []
    while (this.r(LSR) & 0x01) bytes.push(this.r(RBR))
    return bytes
  }
}

/** Runs of bytes: `count` numbers from `first` on. */
export function run(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => (first + index) & 0xff)
}
