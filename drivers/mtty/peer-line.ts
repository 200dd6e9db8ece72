/**
 * A line to a program on the host: buffers both ways, bounded, and the program's coming and going.
 *
 * Flow control is by RTS, as with a crtscts terminal: while the guest holds RTS low its input waits here. So what comes
 * before a guest opens its port, or while its tty is throttled, is not eaten by the clearing of FIFOs that comes with
 * opening. A guest that has never written MCR gets its input all the same.
 *
 * Not modelled: breaks. Neither a pseudo-terminal's master nor a socket can send or receive one.
 */
import { NONE, type SerialLine } from './serial-line.ts'

const OUTPUT_SIZE = 4096
/** Further room for what guests leave in their transmitters when they go. */
const OUTPUT_RESERVE = 256
const NOTHING = new Uint8Array(0)

export abstract class PeerLine implements SerialLine {
  readonly #heedsRts: boolean
  #onChange = (): void => {}
  #present = false
  #held = false
  #returned: number[] = [] // unread by a guest that went
  #input: Uint8Array = NOTHING
  #inputAt = 0
  readonly #output = new Uint8Array(OUTPUT_SIZE + OUTPUT_RESERVE)
  #outputStart = 0
  #outputEnd = 0
  #refused = false
  #flushSoon: NodeJS.Immediate | undefined

  /** @param heedsRts whether the guest's RTS holds its input back */
  constructor(heedsRts: boolean) {
    this.#heedsRts = heedsRts
  }

  /** The next input, or undefined; it may be reused after the next call. Cheap when there is none. */
  protected abstract nextChunk(): Uint8Array | undefined
  /** Gives output to the program. @returns how many bytes were taken or copied; 0: flush() will be called when it goes on */
  protected abstract transmit(bytes: Uint8Array): number

  get present(): boolean {
    return this.#present
  }

  attach(onChange: () => void): void {
    this.#onChange = onChange
  }

  send(byte: number): boolean {
    if (!this.#present) return true
    if (this.#outputEnd - this.#outputStart >= OUTPUT_SIZE) {
      this.#refused = true
      return false
    }
    this.#append(byte)
    return true
  }

  receive(): number {
    if (this.#held) return NONE
    if (this.#returned.length > 0) return this.#returned.shift() ?? NONE
    if (this.#inputAt === this.#input.length) {
      this.#input = this.nextChunk() ?? NOTHING
      this.#inputAt = 0
    }
    return this.#input[this.#inputAt++] ?? this.#noInput()
  }

  setBreak(): void {}

  setRts(asserted: boolean | undefined): void {
    this.#held = this.#heedsRts && asserted === false
  }

  hangUp(unsent: readonly number[], unread: readonly number[]): void {
    if (this.#present) {
      const room = this.#output.length - (this.#outputEnd - this.#outputStart)
      for (const byte of unsent.slice(0, room)) this.#append(byte)
    }
    this.#returned = [...unread, ...this.#returned]
  }

  /** The program has come or gone. Going loses what it has not taken yet, never what it has sent. */
  protected setPresent(present: boolean): void {
    if (present === this.#present) return
    this.#present = present
    this.#outputStart = this.#outputEnd
    this.#onChange()
  }

  /** There is input. */
  protected inputArrived(): void {
    if (!this.#held) this.#onChange()
  }

  /** Gives the program what it takes. */
  protected flush(): void {
    clearImmediate(this.#flushSoon)
    this.#flushSoon = undefined
    while (this.#outputStart < this.#outputEnd) {
      const taken = this.transmit(this.#output.subarray(this.#outputStart, this.#outputEnd))
      if (taken === 0) break
      this.#outputStart += taken
    }
    if (this.#refused && this.#outputEnd - this.#outputStart < OUTPUT_SIZE) {
      this.#refused = false
      this.#onChange()
    }
  }

  /** Bytes come one register access at a time; those of one turn of the event loop go out together. */
  #append(byte: number): void {
    if (this.#outputEnd === this.#output.length) {
      this.#output.copyWithin(0, this.#outputStart, this.#outputEnd)
      this.#outputEnd -= this.#outputStart
      this.#outputStart = 0
    }
    this.#output[this.#outputEnd++] = byte
    this.#flushSoon ??= setImmediate(() => this.flush())
  }

  #noInput(): number {
    this.#inputAt = this.#input.length
    return NONE
  }
}
