/** Finds marks in what a guest's script says, and takes them out: how the script tells us a number on the way. */
import { randomBytes } from 'node:crypto'
import { Transform, type TransformCallback } from 'node:stream'

/** What no output has by chance. */
export function freshMark(): string {
  return randomBytes(8).toString('hex')
}

/** The shell command that prints a mark. @param number a shell word for it */
export function printMark(mark: string, number: number | string): string {
  return String.raw`printf '\003${mark}:%d;' ${number}`
}

/** More digits than a number of these has are no mark. */
const MOST_DIGITS = 10

/** Bytes pass as they are, each at once unless a mark may begin with it. */
export class MarkedOutput extends Transform {
  readonly #start: Buffer
  readonly #onMark: (number: number) => void
  #held = Buffer.alloc(0)

  /** @param onMark told in its place: what stood before has passed, what comes after has not */
  constructor(mark: string, onMark: (number: number) => void) {
    super()
    this.#start = Buffer.from(`\x03${mark}:`)
    this.#onMark = onMark
  }

  override _transform(chunk: Buffer, _encoding: string, done: TransformCallback): void {
    let bytes = Buffer.concat([this.#held, chunk])
    for (;;) {
      const at = this.#findStart(bytes)
      this.#pass(bytes.subarray(0, at))
      bytes = bytes.subarray(at)
      if (bytes.length < this.#start.length) break // none, or not all of it yet
      const text = bytes.toString('latin1', this.#start.length, this.#start.length + MOST_DIGITS)
      const [whole, digits] = /^(\d+);/.exec(text) ?? []
      if (whole !== undefined) {
        bytes = bytes.subarray(this.#start.length + whole.length)
        this.#onMark(Number(digits))
      } else if (text.length < MOST_DIGITS && /^\d*$/.test(text)) {
        break
      } else {
        this.#pass(bytes.subarray(0, 1)) // no mark after all
        bytes = bytes.subarray(1)
      }
    }
    this.#held = Buffer.from(bytes)
    done()
  }

  override _flush(done: TransformCallback): void {
    this.#pass(this.#held)
    done()
  }

  /** Where a mark begins, or may begin at the end of what has come; else the end. */
  #findStart(bytes: Buffer): number {
    for (let at = bytes.indexOf(3); at >= 0; at = bytes.indexOf(3, at + 1)) {
      const part = bytes.subarray(at, at + this.#start.length)
      if (part.equals(this.#start.subarray(0, part.length))) return at
    }
    return bytes.length
  }

  #pass(bytes: Buffer): void {
    if (bytes.length > 0) this.push(bytes)
  }
}
