/** What the demo shows: numbered steps, lines below them, and what is said on a port. Whole lines only. */

/** SGR sequences. */
const STYLES = { bold: '\x1b[1m', dim: '\x1b[2m', typed: '\x1b[36m', good: '\x1b[32m' } as const
const RESET = '\x1b[0m'
const INDENT = '   '

export type Style = keyof typeof STYLES

export interface ScreenOptions {
  write(text: string): void
  readonly colour: boolean
}

export class Screen {
  readonly #options: ScreenOptions
  #steps = 0

  constructor(options: ScreenOptions) {
    this.#options = options
  }

  title(text: string): void {
    this.#options.write(`${this.styled('bold', text)}\n`)
  }

  /** Begins a step, with the next number. */
  step(title: string): void {
    this.#options.write(`\n${this.styled('bold', `${++this.#steps}. ${title}`)}\n`)
  }

  /** Shows text, of one line or many, below the step. */
  show(text: string, style?: Style): void {
    for (const line of text.split('\n')) {
      const shown = style === undefined ? line : this.styled(style, line)
      this.#options.write(line === '' ? '\n' : `${INDENT}${shown}\n`)
    }
  }

  /** Shows a line that was typed on a port (`>`), or that came back (`<`). */
  said(port: string, direction: '>' | '<', line: string): void {
    const text = printable(line)
    this.show(`${port} ${direction} ${direction === '>' ? this.styled('typed', text) : text}`)
  }

  styled(style: Style, text: string): string {
    return this.#options.colour && text !== '' ? `${STYLES[style]}${text}${RESET}` : text
  }
}

/** Bytes that a terminal would act upon are shown as escapes. */
export function printable(line: string): string {
  return line.replaceAll(
    /[^\x20-\x7e]/g,
    (char) => String.raw`\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
}
