/** A far end that sends back what it is sent: a loopback plug. */
import type { Port } from './port.ts'
import { BREAK, NONE } from './serial-line.ts'

export class LoopbackPort implements Port {
  readonly place = 'loopback'
  readonly present = true
  // One character under way is enough: the UART moves on while the guest reads, and keeps the rest in its FIFOs.
  #underWay = NONE
  #inBreak = false
  #breakUnderWay = false

  /** Nothing happens here by itself, so there is nobody to tell. */
  attach(): void {}

  send(byte: number): boolean {
    if (this.#underWay !== NONE || this.#breakUnderWay) return false
    this.#underWay = byte
    return true
  }

  receive(): number {
    const char = this.#underWay
    this.#underWay = NONE
    if (char !== NONE || !this.#breakUnderWay) return char
    this.#breakUnderWay = false
    return BREAK
  }

  /** However long it lasts, a break is received once. */
  setBreak(on: boolean): void {
    if (on && !this.#inBreak) this.#breakUnderWay = true
    this.#inBreak = on
  }

  /** A plug has no flow control. */
  setRts(): void {}

  /** What one guest sent is not for the next. */
  hangUp(): void {
    this.#underWay = NONE
    this.#breakUnderWay = false
  }

  close(): void {}
}
