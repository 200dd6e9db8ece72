/** The line between a UART and its far end: what each may expect of the other. */
import * as serial from './serial-reg.ts'

/** `receive()` has nothing. */
export const NONE = -1

/** A received break: a zero byte with its error bit, as `receive()` returns it. */
export const BREAK = serial.UART_LSR_BI << 8

/**
 * A UART's far end, with the wire in between.
 *
 * Everything is synchronous and takes what is there: a byte is never waited for. The far end tells the UART that it may
 * try again through the function given to `attach`, and never from inside one of the methods here.
 */
export interface SerialLine {
  /** Whether somebody is there: carrier, data set ready and clear to send. */
  readonly present: boolean
  /** @param onChange called when there may be input, may be room to send again, or `present` has changed */
  attach(onChange: () => void): void
  /** Takes one byte; false, and nothing happens, when there is no room now. Nobody there: taken, and lost. */
  send(byte: number): boolean
  /**
   * The next received character, or {@link NONE}. The low 8 bits are the byte; above them its LSR error bits (PE, FE,
   * BI), shifted left by 8.
   */
  receive(): number
  /** Starts or ends a break. */
  setBreak(on: boolean): void
  /** How the guest drives RTS (request to send); undefined: it has said nothing since power-on. */
  setRts(asserted: boolean | undefined): void
  /**
   * The guest has gone.
   *
   * @param unsent bytes it had sent, not yet taken by `send`: to be delivered still, at most a FIFO's worth
   * @param unread characters it had been sent and had not read: the next guest's first, at most a FIFO's worth
   */
  hangUp(unsent: readonly number[], unread: readonly number[]): void
}
