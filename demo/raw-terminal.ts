/** The terminal of standard input, lent to a guest: every key goes there, and afterwards it is as it was. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { isatty } from 'node:tty'
import { ErrnoError } from '../src/lib/errno.ts'

/** Of a terminal that does not say its size, as one on a serial line. */
const USUAL = { rows: 24, columns: 80 }

/** Restores the terminal when we end without a word, by SIGKILL for one: the kernel then closes the pipe from us. */
const KEEPER = 'read -r word || stty "$1" <&3'

export class RawTerminal {
  #settings: string | undefined
  #keeper: ChildProcess | undefined

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
    process.on('exit', this.leave) // whatever ends us, if it lets us
    this.#keeper = spawn('/bin/sh', ['-c', KEEPER, 'keeper', this.#settings], {
      stdio: ['pipe', 'ignore', 'ignore', 0],
      detached: true, // what kills our process group must not kill it first
    })
    this.#keeper.on('error', () => {}) // then it is as without one
    this.#keeper.stdin?.on('error', () => {}) // somebody killed it
    this.#keeper.unref()
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
      this.#keeper?.stdin?.end('done\n')
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
