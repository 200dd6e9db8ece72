/**
 * The receiving half of a 16550A: FIFO or holding register, errors per character, trigger level and time-out.
 *
 * Not modelled: the shift register (a character is received in no time).
 *
 * @see National Semiconductor PC16550D data sheet (TL/C/8652), "Line Status Register", "FIFO Interrupt Mode Operation"
 */
import { CharFifo } from './char-fifo.ts'
import type { Clock } from 'mdevkit'
import * as serial from './serial-reg.ts'

export const FIFO_SIZE = 16
const TRIGGER_LEVELS = [1, 4, 8, 14] as const // by FCR bits 7 and 6
const TIMEOUT_CHARACTERS = 4
const CHARACTER_ERRORS = serial.UART_LSR_BI | serial.UART_LSR_FE | serial.UART_LSR_PE

export class Receiver {
  readonly #clock: Clock
  readonly #onTimeout: () => void
  readonly #fifo = new CharFifo(FIFO_SIZE)
  #depth = 1
  #trigger = 1
  #errors = 0 // LSR bits that outlive their character: they wait for a read of LSR
  #touched = false // a character came or went since the timer was set
  #deadline = 0
  #timedOut = false
  #callOff: (() => void) | undefined

  /** @param onTimeout the cause UART_IIR_RX_TIMEOUT has come up */
  constructor(clock: Clock, onTimeout: () => void) {
    this.#clock = clock
    this.#onTimeout = onTimeout
  }

  /** Whether a character fits without an overrun. */
  get hasRoom(): boolean {
    return this.#fifo.length < this.#depth
  }

  get isEmpty(): boolean {
    return this.#fifo.length === 0
  }

  /** What LSR says of the receiver. */
  get status(): number {
    const ready = this.#fifo.length > 0 ? serial.UART_LSR_DR : 0
    const inFifo = this.#depth > 1 && this.#fifo.errored > 0 ? serial.UART_LSR_FIFOE : 0
    return inFifo | this.#lineStatus | ready
  }

  /** Error bits that LSR shows now: of the oldest character, and what no read of LSR has seen yet. */
  get #lineStatus(): number {
    return this.#errors | (this.#fifo.peek() >> 8)
  }

  /** The interrupt cause among those that `ier` enables, or undefined. */
  cause(ier: number): number | undefined {
    if (ier & serial.UART_IER_RLSI && this.#lineStatus !== 0) return serial.UART_IIR_RLSI
    if (!(ier & serial.UART_IER_RDI)) return undefined
    if (this.#fifo.length >= this.#trigger) return serial.UART_IIR_RDI
    return this.#timedOut ? serial.UART_IIR_RX_TIMEOUT : undefined
  }

  /** FIFOs on or off; the trigger level only counts when on. */
  configure(fifos: boolean, fcr: number): void {
    this.#depth = fifos ? FIFO_SIZE : 1
    this.#trigger = fifos ? (TRIGGER_LEVELS[(fcr >> serial.UART_FCR_R_TRIG_SHIFT) & 3] ?? 1) : 1
  }

  /** A character has been received. Without room it is an overrun. */
  accept(char: number): void {
    this.#touch()
    if (!this.hasRoom) {
      this.overrun()
      if (this.#depth > 1) return // a full FIFO loses the new character,
      this.#fifo.clear() // a full holding register the old one
    }
    this.#fifo.push(char)
  }

  /** Something was lost. */
  overrun(): void {
    this.#errors |= serial.UART_LSR_OE
  }

  /** RBR is read: takes the oldest byte, 0 without one. */
  take(): number {
    this.#touch()
    const char = this.#fifo.shift()
    this.#errors |= char >> 8
    return char & 0xff
  }

  /** LSR has been read. */
  acknowledge(): void {
    this.#errors = 0
    this.#fifo.acknowledge()
  }

  /** Empties the FIFO; an overrun is still to be reported, errors of characters go with them. */
  clear(): void {
    this.#touch()
    this.#fifo.clear()
    this.#errors &= ~CHARACTER_ERRORS
  }

  /** Back to power-on. @returns the characters that had not been read */
  reset(): readonly number[] {
    const unread = Array.from({ length: this.#fifo.length }, () => this.#fifo.shift())
    this.clear()
    this.#errors = 0
    this.configure(false, 0)
    this.stop()
    return unread
  }

  /**
   * Sets, moves or stops the time-out: characters wait below the trigger level, and for four character times none has
   * come and none has been read. Called after every access and event.
   *
   * The data sheet counts from the last character; here the count starts when IER first asks for it, if that is later.
   */
  watch(ier: number, characterMs: number): void {
    const waiting =
      !this.#timedOut &&
      (ier & serial.UART_IER_RDI) !== 0 &&
      this.#fifo.length > 0 &&
      this.#fifo.length < this.#trigger
    if (!waiting) {
      this.stop()
    } else if (this.#touched || this.#callOff === undefined) {
      this.#touched = false
      this.#deadline = this.#clock.now() + TIMEOUT_CHARACTERS * characterMs
      this.#callOff ??= this.#clock.after(TIMEOUT_CHARACTERS * characterMs, () => this.#expire())
    }
  }

  /** Lets go of the timer. */
  stop(): void {
    this.#callOff?.()
    this.#callOff = undefined
  }

  #touch(): void {
    this.#touched = true
    this.#timedOut = false
  }

  /** One timer serves many characters: it goes on until the deadline that the last of them set. */
  #expire(): void {
    const remaining = this.#deadline - this.#clock.now()
    this.#callOff = undefined
    if (remaining > 0) {
      this.#callOff = this.#clock.after(remaining, () => this.#expire())
    } else {
      this.#timedOut = true
      this.#onTimeout()
    }
  }
}
