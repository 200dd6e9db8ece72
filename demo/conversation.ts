/** What is typed on the host end of a port and what comes back, line by line, compared byte for byte. */
import { ErrnoError } from '../src/lib/errno.ts'
import { hex } from '../src/lib/format.ts'
import type { OpenWire, Wire } from './wire.ts'

const MAX_LINE = 4096

export interface ConversationOptions {
  /** For messages: `port 0`. */
  readonly name: string
  /** Of the terminal. */
  readonly path: string
  readonly open: OpenWire
  /** How long a line may take to come, ms. */
  readonly timeoutMs: number
  readonly signal: AbortSignal
}

/** Lines are strings of one character a byte (latin1), so that equal strings are equal bytes. */
export class Conversation {
  readonly name: string
  readonly #options: ConversationOptions
  readonly #wire: Wire
  #received = ''
  #wake = (): void => {}

  constructor(options: ConversationOptions) {
    this.name = options.name
    this.#options = options
    this.#wire = options.open(options.path, (bytes) => {
      this.#received += bytes.toString('latin1')
      this.#wake()
    })
  }

  /** Types a line. */
  say(line: string): void {
    this.#wire.write(Buffer.from(`${line}\n`, 'latin1'))
  }

  /** The next line, whatever it is. @throws ETIMEDOUT, EBADMSG none came, or no end of it */
  async hear(): Promise<string> {
    return this.#nextLine('a line', MAX_LINE, (came) => this.#differs('a line', came))
  }

  /**
   * The next line, which must be this one.
   *
   * @throws ETIMEDOUT it did not come · EBADMSG another did; either message says what was expected and what came
   */
  async expect(line: string): Promise<void> {
    const expected = JSON.stringify(line)
    const refuse = (came: string) => this.#differs(expected, came, firstDifference(line, came))
    const came = await this.#nextLine(expected, line.length, refuse)
    if (came !== line) throw refuse(came)
  }

  /** Nothing may have come that nobody asked for. @throws EBADMSG */
  expectNothing(): void {
    if (this.#received !== '') throw this.#differs('nothing more', this.#received)
  }

  close(): void {
    this.#wire.close()
  }

  /** @param refuse makes an error of more than `most` bytes without an end of line */
  async #nextLine(
    expected: string,
    most: number,
    refuse: (came: string) => Error,
  ): Promise<string> {
    const deadline = performance.now() + this.#options.timeoutMs
    for (;;) {
      const end = this.#received.indexOf('\n')
      if (end >= 0) {
        const line = this.#received.slice(0, end)
        this.#received = this.#received.slice(end + 1)
        return line
      }
      if (this.#received.length > most) throw refuse(this.#received)
      await this.#more(deadline, expected)
    }
  }

  /** Resolves when something has come. */
  async #more(deadline: number, expected: string): Promise<void> {
    const { signal, timeoutMs } = this.#options
    signal.throwIfAborted()
    await new Promise<void>((resolve, reject) => {
      const end = (settle: () => void) => {
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
        this.#wake = () => {}
        settle()
      }
      const abort = () => end(() => reject(signal.reason as Error))
      const timer = setTimeout(
        () => end(() => reject(this.#missing(expected, timeoutMs))),
        deadline - performance.now(),
      )
      signal.addEventListener('abort', abort)
      this.#wake = () => end(resolve)
    })
  }

  #missing(expected: string, timeoutMs: number): ErrnoError {
    const came = this.#received === '' ? 'nothing' : JSON.stringify(this.#received)
    return this.#error('ETIMEDOUT', expected, `${came} within ${timeoutMs} ms`)
  }

  #differs(expected: string, came: string, where = ''): ErrnoError {
    return this.#error('EBADMSG', expected, `${JSON.stringify(came)}${where}`)
  }

  #error(code: 'ETIMEDOUT' | 'EBADMSG', expected: string, came: string): ErrnoError {
    return new ErrnoError(code, `${this.name}:\n  expected ${expected}\n  came     ${came}`)
  }
}

/** ` (byte 3: 0x61, not 0x62)`: where two lines that differ begin to. */
function firstDifference(expected: string, came: string): string {
  let at = 0
  while (at < came.length && came[at] === expected[at]) at++
  const byte = (line: string) =>
    at < line.length ? hex(line.charCodeAt(at)) : `the end of the line`
  return `\n  (byte ${at}: ${byte(expected)} expected, ${byte(came)} came)`
}
