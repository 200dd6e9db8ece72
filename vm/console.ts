/** What a guest writes to its console, and who waits for what in it. */
import { ErrnoError } from '../src/lib/errno.ts'

const LAST_LINES = 20
const LINE_LENGTH = 200 // of a line in a message

export interface WaitOptions {
  /** How long at most, ms. */
  readonly timeoutMs?: number
}

interface Waiter {
  /** Looks at what has come, `chunk` being the newest of it. True when it has what it waits for. */
  look(chunk: string): boolean
  fail(error: Error): void
}

/** The console's text so far, and a position in it up to which it was consumed. */
export class GuestConsole {
  readonly #timeoutMs: number
  readonly #waiters = new Set<Waiter>()
  #text = ''
  #consumed = 0
  #pending: string[] = [] // joined to the text when somebody looks: it comes in very small pieces
  #ended: string | undefined

  /** @param timeoutMs of waits that name none */
  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs
  }

  get text(): string {
    if (this.#pending.length > 0) {
      this.#text += this.#pending.join('')
      this.#pending = []
    }
    return this.#text
  }

  push(chunk: string): void {
    this.#pending.push(chunk)
    for (const waiter of this.#waiters) {
      if (waiter.look(chunk)) this.#waiters.delete(waiter)
    }
  }

  /** Nothing more comes, for this reason: all who wait are told. */
  end(reason: string): void {
    this.#ended = reason
    for (const waiter of this.#waiters) waiter.fail(this.#error('EPIPE', reason))
    this.#waiters.clear()
  }

  /**
   * Waits for text and consumes all up to its end, so that the next wait sees only what comes after it.
   *
   * @throws ETIMEDOUT it did not come · EPIPE the guest ended; the message shows what came instead
   */
  async waitFor(pattern: RegExp | string, options: WaitOptions = {}): Promise<RegExpMatchArray> {
    const flags = typeof pattern === 'string' ? '' : pattern.flags.replace(/[gy]/g, '')
    const source = typeof pattern === 'string' ? escape(pattern) : pattern.source
    const regexp = new RegExp(source, flags)
    let found: RegExpMatchArray | null = null
    const look = () => {
      found = regexp.exec(this.text.slice(this.#consumed))
      if (found) this.#consumed += found.index! + found[0].length
      return found !== null
    }
    const expected = typeof pattern === 'string' ? JSON.stringify(pattern) : String(pattern)
    if (!look()) await this.#wait(expected, look, options.timeoutMs)
    return found!
  }

  /** Waits until `text` has come since the guest started. Consumes nothing. */
  async seen(text: string, options: WaitOptions = {}): Promise<void> {
    const look = () => this.text.includes(text)
    if (!look()) await this.#wait(JSON.stringify(text), look, options.timeoutMs)
  }

  /**
   * Waits for what stands between two marks that occur nowhere else, and consumes it. Made for much text: only what
   * is new is looked at.
   */
  async between(
    begin: string,
    end: RegExp,
    expected: string,
    timeoutMs: number | undefined,
  ): Promise<{ text: string; end: RegExpExecArray }> {
    const from = this.text.length
    let tail = ''
    await this.#wait(
      expected,
      (chunk) => {
        tail = tail.slice(-256) + chunk // more than an end mark's length
        return end.test(tail)
      },
      timeoutMs,
    )
    const text = this.text.slice(from)
    const match = end.exec(text)!
    this.#consumed = from + match.index + match[0].length
    const start = text.indexOf(begin)
    return { text: text.slice(start < 0 ? 0 : start + begin.length, match.index), end: match }
  }

  async #wait(
    expected: string,
    look: (chunk: string) => boolean,
    timeoutMs = this.#timeoutMs,
  ): Promise<void> {
    const wanted = `no ${expected}`
    if (this.#ended !== undefined) throw this.#error('EPIPE', `${wanted}: ${this.#ended}`)
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter)
        reject(this.#error('ETIMEDOUT', `${wanted} within ${timeoutMs} ms`))
      }, timeoutMs)
      const waiter: Waiter = {
        look: (chunk) => {
          if (!look(chunk)) return false
          clearTimeout(timer)
          resolve()
          return true
        },
        fail: (error) => {
          clearTimeout(timer)
          reject(error)
        },
      }
      this.#waiters.add(waiter)
    })
  }

  #error(code: 'ETIMEDOUT' | 'EPIPE', what: string): ErrnoError {
    const lines = this.text
      .trimEnd()
      .split(/\r?\n/)
      .slice(-LAST_LINES)
      .map((line) => (line.length > LINE_LENGTH ? `…${line.slice(-LINE_LENGTH)}` : line))
    return new ErrnoError(code, `guest console: ${what}; its last lines were:\n${lines.join('\n')}`)
  }
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, String.raw`\$&`)
}
