/** A driver for one 16550A behind mdevkit's client: what the 8250 driver of a guest does, in few lines. */
import { ErrnoError } from '../src/lib/errno.ts'
import { hex } from '../src/lib/format.ts'
import type { Client } from '../src/vfio-user/client.ts'
import * as serial from '../drivers/mtty/serial-reg.ts'

const FIFO_SIZE = 16
/** The receiver interrupts from so many bytes on, and below that when no more come for a while. */
const TRIGGER = { code: 2, bytes: 8 }
const DIVISOR_115200 = 1
const CAUSE = 0x0f // of IIR
const SCRATCH = 0x5a

const RECEIVE = serial.UART_IER_RDI | serial.UART_IER_RLSI | serial.UART_IER_MSI

export interface UartEvents {
  /** Somebody has opened the far end; once. */
  onCarrier(): void
  onBytes(bytes: Uint8Array): void
}

export class UartClient {
  readonly #client: Client
  readonly #bar: number
  readonly #events: UartEvents
  #carrier = false
  readonly #unsent: number[] = []
  #sending = false

  /** @param bar the region of its registers */
  constructor(client: Client, bar: number, events: UartEvents) {
    this.#client = client
    this.#bar = bar
    this.#events = events
  }

  /** Makes sure that it is a 16550A and programs it: 115200 8N1, FIFOs, interrupts. @throws ENODEV it is none */
  async open(): Promise<void> {
    this.#write(serial.UART_IER, 0)
    this.#write(serial.UART_SCR, SCRATCH)
    const scratch = await this.#read(serial.UART_SCR)
    this.#write(
      serial.UART_FCR,
      serial.UART_FCR_ENABLE_FIFO |
        serial.UART_FCR_CLEAR_RCVR |
        serial.UART_FCR_CLEAR_XMIT |
        (TRIGGER.code << serial.UART_FCR_R_TRIG_SHIFT),
    )
    const iir = await this.#read(serial.UART_IIR)
    if (scratch !== SCRATCH || (iir & serial.UART_IIR_FIFO_ENABLED) === 0) {
      throw new ErrnoError(
        'ENODEV',
        `BAR ${this.#bar}: no 16550A: SCR ${hex(scratch)}, IIR ${hex(iir)}`,
      )
    }
    this.#write(serial.UART_LCR, serial.UART_LCR_DLAB | serial.UART_LCR_WLEN8)
    this.#write(serial.UART_DLL, DIVISOR_115200)
    this.#write(serial.UART_DLM, 0)
    this.#write(serial.UART_LCR, serial.UART_LCR_WLEN8)
    this.#write(serial.UART_MCR, serial.UART_MCR_DTR | serial.UART_MCR_RTS | serial.UART_MCR_OUT2)
    this.#write(serial.UART_IER, RECEIVE)
    await this.#senseCarrier() // later changes interrupt
  }

  /** Sends bytes; they leave as the transmitter interrupts. */
  send(bytes: Uint8Array): void {
    this.#unsent.push(...bytes)
    if (this.#sending) return
    this.#sending = true
    this.#write(serial.UART_IER, RECEIVE | serial.UART_IER_THRI)
  }

  /** Serves one cause of its interrupts, if there is any; with further ones the pin stays asserted. @throws EIO */
  async service(): Promise<void> {
    const cause = (await this.#read(serial.UART_IIR)) & CAUSE
    switch (cause) {
      case serial.UART_IIR_NO_INT:
        return
      case serial.UART_IIR_RDI:
        return this.#receive(TRIGGER.bytes)
      case serial.UART_IIR_RX_TIMEOUT:
        return this.#receive(1)
      case serial.UART_IIR_THRI:
        return this.#transmit()
      case serial.UART_IIR_MSI:
        return this.#senseCarrier()
      default:
        throw new ErrnoError(
          'EIO',
          `BAR ${this.#bar}: IIR ${hex(cause)}, LSR ${hex(await this.#read(serial.UART_LSR))}`,
        )
    }
  }

  async #senseCarrier(): Promise<void> {
    const carrier = ((await this.#read(serial.UART_MSR)) & serial.UART_MSR_DCD) !== 0
    if (!carrier || this.#carrier) return
    this.#carrier = true
    this.#events.onCarrier()
  }

  /** Receives bytes of which `count` are surely there; so many reads need not wait for one another. */
  async #receive(count: number): Promise<void> {
    const reads = Array.from({ length: count }, async () => this.#read(serial.UART_RX))
    this.#events.onBytes(Uint8Array.from(await Promise.all(reads)))
  }

  #transmit(): void {
    for (const byte of this.#unsent.splice(0, FIFO_SIZE)) this.#write(serial.UART_TX, byte)
    if (this.#unsent.length > 0) return
    this.#sending = false
    this.#write(serial.UART_IER, RECEIVE)
  }

  async #read(register: number): Promise<number> {
    return this.#client.readRegister(this.#bar, register, 1)
  }

  #write(register: number, value: number): void {
    this.#client.post(this.#bar, register, Uint8Array.of(value))
  }
}
