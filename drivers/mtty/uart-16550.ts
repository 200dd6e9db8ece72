/**
 * A 16550A as its data sheet has it, which the stock Linux 8250 driver takes for one. It knows neither PCI nor guests.
 *
 * Not modelled: time on the wire (baud rate, word length, parity and stop bits are kept, cost nothing and change nothing;
 * only the receiver's time-out is computed from them), the transmitter's shift register (TEMT equals THRE), DMA mode.
 *
 * The interrupt is not gated by OUT2. That gate is not the chip's but the ISA card's ("OUT2: user-designated output",
 * PC16550D; "most PC uarts need OUT2 raised", Linux 8250_port.c), PCI cards have none (nor has QEMU's pci-serial), and
 * Linux works with either: it raises OUT2 before it enables interrupts.
 *
 * @see National Semiconductor PC16550D data sheet (TL/C/8652); Linux drivers/tty/serial/8250/8250_port.c
 */
import {
  ByteFifo,
  systemClock,
  type Clock,
  type IrqLine,
  type Registers,
  type ResetCause,
} from 'mdevkit'
import { Pacer } from './pacer.ts'
import { FIFO_SIZE, Receiver } from './receiver.ts'
import { NONE, type SerialLine } from './serial-line.ts'
import * as serial from './serial-reg.ts'

const IER_BITS = 0x0f // what is above reads 0: Linux takes a writable bit 6 for an XScale
const MCR_BITS = 0x1f // bit 5, auto flow control, is a 16550C's
const DIVISOR_9600 = 12 // undefined at power-on
const CLOCK_HZ = 1_843_200
const PEER_PRESENT = serial.UART_MSR_DCD | serial.UART_MSR_DSR | serial.UART_MSR_CTS

export class Uart16550 implements Registers {
  readonly #irq: IrqLine
  readonly #line: SerialLine
  readonly #receiver: Receiver
  readonly #pacer: Pacer
  readonly #tx = new ByteFifo(FIFO_SIZE)
  #fifos = false
  #ier = 0
  #lcr = 0
  #mcr = 0
  #scratch = 0
  #divisor = DIVISOR_9600
  #txEmptied = false // the THRE cause: the transmitter has become empty, or IER asks whether it is
  #inputs: number // MSR bits 7 to 4 as last seen
  #deltas = 0 // MSR bits 3 to 0
  #awake = false // accessed since power-on; until then input stays with the far end

  constructor(irq: IrqLine, line: SerialLine, clock: Clock = systemClock) {
    this.#irq = irq
    this.#line = line
    this.#receiver = new Receiver(clock, () => this.#settle())
    this.#pacer = new Pacer(clock, () => this.#settle())
    this.#inputs = this.#modemInputs
    line.attach(() => this.#settle())
  }

  read(offset: number): number {
    if (!this.#awake) {
      this.#awake = true
      this.#settle()
    }
    switch (offset) {
      case serial.UART_RX:
        return this.#dlab ? this.#divisor & 0xff : this.#settled(this.#receiver.take())
      case serial.UART_IER:
        return this.#dlab ? this.#divisor >> 8 : this.#ier
      case serial.UART_IIR:
        return this.#readIir()
      case serial.UART_LCR:
        return this.#lcr
      case serial.UART_MCR:
        return this.#mcr
      case serial.UART_LSR:
        return this.#readLsr()
      case serial.UART_MSR:
        return this.#readMsr()
      default:
        return this.#scratch
    }
  }

  write(offset: number, value: number): void {
    this.#awake = true
    switch (offset) {
      case serial.UART_TX:
        if (this.#dlab) this.#divisor = (this.#divisor & 0xff00) | (value & 0xff)
        else this.#transmit(value)
        break
      case serial.UART_IER:
        if (this.#dlab) this.#divisor = (this.#divisor & 0xff) | ((value & 0xff) << 8)
        else this.#writeIer(value & IER_BITS)
        break
      case serial.UART_FCR:
        this.#writeFcr(value)
        break
      case serial.UART_LCR:
        this.#lcr = value & 0xff
        this.#driveLine()
        break
      case serial.UART_MCR:
        this.#mcr = value & MCR_BITS
        this.#driveLine()
        break
      case serial.UART_SCR:
        this.#scratch = value & 0xff
        break
      default: // LSR is for factory tests, MSR is read only
    }
    this.#settle()
  }

  /** Power-on. When the client went, what it sent and what it did not read stay with the far end. */
  reset(why: ResetCause): void {
    const unread = this.#receiver.reset()
    const unsent = Array.from({ length: this.#tx.length }, () => this.#tx.shift())
    this.#fifos = false
    this.#ier = 0
    this.#lcr = 0
    this.#mcr = 0
    this.#scratch = 0
    this.#divisor = DIVISOR_9600
    this.#txEmptied = false
    this.#awake = false
    this.#line.setBreak(false)
    this.#line.setRts(undefined)
    if (why === 'disconnect') this.#line.hangUp(unsent, unread)
    this.#inputs = this.#modemInputs
    this.#deltas = 0
    this.#settle()
  }

  /** Lets go of timers; the far end is its owner's to close. */
  close(): void {
    this.#receiver.stop()
    this.#pacer.stop()
  }

  get #dlab(): boolean {
    return (this.#lcr & serial.UART_LCR_DLAB) !== 0
  }

  get #loop(): boolean {
    return (this.#mcr & serial.UART_MCR_LOOP) !== 0
  }

  #readIir(): number {
    const cause = this.#cause
    // Reading takes this cause away, and no other.
    if (cause === serial.UART_IIR_THRI) this.#txEmptied = false
    return this.#settled(cause | (this.#fifos ? serial.UART_IIR_FIFO_ENABLED : 0))
  }

  #readLsr(): number {
    const empty = this.#tx.length === 0 ? serial.UART_LSR_THRE | serial.UART_LSR_TEMT : 0
    const status = this.#receiver.status | empty
    this.#receiver.acknowledge()
    return this.#settled(status)
  }

  #readMsr(): number {
    const status = this.#inputs | this.#deltas
    this.#deltas = 0
    return this.#settled(status)
  }

  #transmit(byte: number): void {
    this.#txEmptied = false
    // A real transmitter loses the byte in silence; an overrun it is for the kernel's mtty, and for us.
    if (this.#tx.length < (this.#fifos ? FIFO_SIZE : 1)) this.#tx.push(byte)
    else this.#receiver.overrun()
  }

  #writeIer(ier: number): void {
    // Linux tests at start-up that enabling the interrupt raises it when the transmitter is empty, and sends the first
    // byte of each burst from that interrupt.
    const asks = ier & ~this.#ier & serial.UART_IER_THRI
    if (asks && this.#tx.length === 0) this.#txEmptied = true
    this.#ier = ier
  }

  #writeFcr(fcr: number): void {
    const fifos = (fcr & serial.UART_FCR_ENABLE_FIFO) !== 0
    // Without the enable bit the others are not programmed; going from one mode to the other clears both FIFOs.
    const clear = fifos === this.#fifos ? (fifos ? fcr : 0) : ~0
    this.#fifos = fifos
    this.#receiver.configure(fifos, fcr)
    if (clear & serial.UART_FCR_CLEAR_RCVR) this.#receiver.clear()
    if (clear & serial.UART_FCR_CLEAR_XMIT && this.#tx.length > 0) {
      this.#tx.clear()
      this.#txEmptied = true
    }
  }

  /** What LCR and MCR say to the far end. In loopback mode the outputs are inactive. */
  #driveLine(): void {
    this.#line.setBreak(!this.#loop && (this.#lcr & serial.UART_LCR_SBC) !== 0)
    this.#line.setRts(!this.#loop && (this.#mcr & serial.UART_MCR_RTS) !== 0)
  }

  /** The reported cause, by priority. */
  get #cause(): number {
    const received = this.#receiver.cause(this.#ier)
    if (received !== undefined) return received
    if (this.#ier & serial.UART_IER_THRI && this.#txEmptied) return serial.UART_IIR_THRI
    if (this.#ier & serial.UART_IER_MSI && this.#deltas) return serial.UART_IIR_MSI
    return serial.UART_IIR_NO_INT
  }

  #settled(value: number): number {
    this.#settle()
    return value
  }

  /** After every access and event: moves what can move, and makes the interrupt line say what is so. */
  #settle(): void {
    this.#pacer.watch((this.#ier & serial.UART_IER_RDI) !== 0, this.#receiver.isEmpty)
    if (this.#loop) this.#loopBack()
    else while (this.#sendAll() || this.#receiveAll()); // what was received may make room for sending
    this.#senseModem()
    this.#receiver.watch(this.#ier, this.#characterMs)
    this.#irq.set(this.#cause !== serial.UART_IIR_NO_INT)
  }

  #loopBack(): void {
    if (this.#tx.length === 0) return
    while (this.#tx.length > 0) this.#receiver.accept(this.#tx.shift())
    this.#txEmptied = true
  }

  /** @returns whether anything moved */
  #sendAll(): boolean {
    const { length } = this.#tx
    if (length === 0) return false
    while (this.#tx.length > 0 && this.#line.send(this.#tx.peek())) this.#tx.shift()
    if (this.#tx.length === 0) this.#txEmptied = true
    return this.#tx.length < length
  }

  /** @returns whether anything moved */
  #receiveAll(): boolean {
    let moved = false
    while (this.#awake && this.#receiver.hasRoom && this.#pacer.ready) {
      const char = this.#line.receive()
      if (char === NONE) {
        this.#pacer.ranDry()
        break
      }
      this.#pacer.passed()
      this.#receiver.accept(char)
      moved = true
    }
    return moved
  }

  #senseModem(): void {
    const inputs = this.#modemInputs
    const changed = inputs ^ this.#inputs
    if (changed === 0) return
    const trailing = changed & ~inputs & serial.UART_MSR_RI // the ring indicator counts when it ends
    this.#deltas |= ((changed & ~serial.UART_MSR_RI) | trailing) >> 4
    this.#inputs = inputs
  }

  /** MSR bits 7 to 4. */
  get #modemInputs(): number {
    if (!this.#loop) return this.#line.present ? PEER_PRESENT : 0
    return (
      (this.#mcr & serial.UART_MCR_DTR ? serial.UART_MSR_DSR : 0) |
      (this.#mcr & serial.UART_MCR_RTS ? serial.UART_MSR_CTS : 0) |
      (this.#mcr & serial.UART_MCR_OUT1 ? serial.UART_MSR_RI : 0) |
      (this.#mcr & serial.UART_MCR_OUT2 ? serial.UART_MSR_DCD : 0)
    )
  }

  /** How long a character takes on a real line. */
  get #characterMs(): number {
    const word = 5 + (this.#lcr & serial.UART_LCR_WLEN8)
    const parity = this.#lcr & serial.UART_LCR_PARITY ? 1 : 0
    const stop = this.#lcr & serial.UART_LCR_STOP ? (word === 5 ? 1.5 : 2) : 1
    const divisor = Math.max(this.#divisor, 1) // 0 is no baud rate
    return ((1 + word + parity + stop) * 16 * divisor * 1000) / CLOCK_HZ
  }
}
