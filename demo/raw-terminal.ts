/** The terminal of standard input, lent to a guest: every key goes there, and afterwards it is as it was. */
import { execFileSync } from 'node:child_process'
import { isatty } from 'node:tty'
import { ErrnoError } from '../src/lib/errno.ts'

/** Of a terminal that does not say its size, as one on a serial line. */
const USUAL = { rows: 24, columns: 80 }

export class RawTerminal {
  #settings: string | undefined

  /** Whether a person can type and read. */
  static get isThere(): boolean {
    return isatty(0) && isatty(1)
  }

  get size(): { readonly rows: number; readonly columns: number } {
    const { rows, columns } = process.stdout
    return { rows: rows || USUAL.rows, columns: columns || USUAL.columns }
  }

  /** Lets no key mean anything here. @throws EIO its settings cannot be read or changed */
  enter(): void {
    if (this.#settings !== undefined) return
    this.#settings = stty('-g').trim()
    process.on('exit', this.leave) // whatever ends us
    stty('raw', '-echo')
  }

  /** Restores it. Idempotent. */
  readonly leave = (): void => {
    const settings = this.#settings
    if (settings === undefined) return
    this.#settings = undefined
    process.off('exit', this.leave)
    try {
      stty(settings)
    } catch {
      // it has gone, and with it who could see this
    }
  }

  /** Text as it must be written to look as usual, whether the terminal is raw or not. */
  lines(text: string): string {
    return this.#settings === undefined ? text : text.replaceAll(/\r?\n/g, '\r\n')
  }
}

function stty(...args: readonly string[]): string {
  try {
    return execFileSync('stty', args, { stdio: ['inherit', 'pipe', 'pipe'], encoding: 'utf8' })
  } catch (error) {
    throw new ErrnoError('EIO', `terminal: stty ${args.join(' ')} failed`, { cause: error })
  }
}
