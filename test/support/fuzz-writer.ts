/** Builds messages one behind the other in one buffer, fields in the order of the wire. */
import type { GiftKind } from './fuzz-gifts.ts'

const HEADER = 16

/** A message in the buffer of a {@link MessageWriter}. */
export interface Written {
  readonly start: number
  readonly end: number
  readonly id: number
  readonly command: number
  readonly flags: number
  readonly fds: readonly GiftKind[]
}

export class MessageWriter {
  readonly bytes: Uint8Array
  readonly view: DataView
  /** What goes with the message at hand. */
  fds: GiftKind[] = []
  /** Where the next field goes. */
  at = 0
  #start = 0

  /** @param capacity bytes of all messages between two {@link clear} */
  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity)
    this.view = new DataView(this.bytes.buffer)
  }

  clear(): void {
    this.at = 0
  }

  get room(): number {
    return this.bytes.length - this.at
  }

  /** Starts a message; its payload follows. */
  begin(): void {
    this.#start = this.at
    this.at += HEADER
    this.fds = []
  }

  /** Bytes of the payload so far. */
  get length(): number {
    return this.at - this.#start - HEADER
  }

  /** Where the payload starts. */
  get payload(): number {
    return this.#start + HEADER
  }

  /** Sets the payload's length, cutting it off or adding zeros. */
  resize(length: number): void {
    const end = this.payload + Math.max(0, length)
    if (end > this.at) this.fill(end - this.at, 0)
    else this.at = end
  }

  u8(...values: readonly number[]): void {
    for (const value of values) this.view.setUint8(this.at++, value)
  }

  u16(...values: readonly number[]): void {
    for (const value of values) {
      this.view.setUint16(this.at, value, true)
      this.at += 2
    }
  }

  u32(...values: readonly number[]): void {
    for (const value of values) {
      this.view.setUint32(this.at, value, true)
      this.at += 4
    }
  }

  /** Whole numbers up to 2^53, or any as bigint. */
  u64(...values: readonly (number | bigint)[]): void {
    for (const value of values) {
      if (typeof value === 'bigint') this.view.setBigUint64(this.at, value, true)
      else {
        this.view.setUint32(this.at, value % 2 ** 32, true)
        this.view.setUint32(this.at + 4, Math.floor(value / 2 ** 32), true)
      }
      this.at += 8
    }
  }

  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.at)
    this.at += bytes.length
  }

  /** So many bytes of the same value, of which the low 8 bits count. */
  fill(count: number, value: number): void {
    this.bytes.fill(value, this.at, this.at + count)
    this.at += count
  }

  /** Ends the message, with a header that tells the truth. */
  end(command: number, id: number, flags: number): Written {
    const { view } = this
    const start = this.#start
    view.setUint16(start, id, true)
    view.setUint16(start + 2, command, true)
    view.setUint32(start + 4, this.at - start, true)
    view.setUint32(start + 8, flags, true)
    view.setUint32(start + 12, 0, true)
    return { start, end: this.at, id, command, flags, fds: this.fds }
  }
}
