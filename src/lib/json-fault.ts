/**
 * What serde_json says of a text that is no JSON, and where: Node's JSON.parse has other words, and often no position.
 *
 * Not modelled: lone surrogates, numbers out of range and deep nesting, which JSON.parse takes.
 *
 * @see serde_json 1.0, src/de.rs and src/read.rs
 */

/** A token that ends where it should not; `at` is how many bytes had been read. */
class Fault {
  readonly message: string
  readonly at: number

  constructor(message: string, at: number) {
    this.message = message
    this.at = at
  }
}

/** `expected value at line 1 column 1`; undefined where nothing is wrong. Columns are bytes. */
export function jsonFault(text: string): string | undefined {
  const bytes = Buffer.from(text).toString('latin1')
  try {
    new Scanner(bytes).document()
    return undefined
  } catch (error) {
    if (!(error instanceof Fault)) throw error
    const lines = bytes.slice(0, error.at).split('\n')
    return `${error.message} at line ${lines.length} column ${lines.at(-1)?.length}`
  }
}

const WORDS: Readonly<Record<string, string>> = { n: 'null', t: 'true', f: 'false' }
const EOF_VALUE = 'EOF while parsing a value'
const CONTROL = 'control character (\\u0000-\\u001F) found while parsing a string'

class Scanner {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  document(): void {
    this.#value()
    if (this.#peek() !== undefined) throw this.#here('trailing characters')
  }

  #value(): void {
    const next = this.#peek()
    if (next === undefined) throw this.#here(EOF_VALUE)
    const word = WORDS[next]
    if (word !== undefined) this.#word(word)
    else if (next === '"') this.#string()
    else if (next === '{') this.#members('}', 'object', () => this.#member())
    else if (next === '[') this.#members(']', 'list', () => this.#value())
    else if (/[-\d]/.test(next)) this.#number()
    else throw this.#here('expected value')
  }

  /** Members up to `end`, with commas between them. */
  #members(end: string, what: string, member: () => void): void {
    this.#at++
    for (let first = true; ; first = false) {
      const next = this.#peek()
      if (next === undefined) throw this.#here(`EOF while parsing ${an(what)}`)
      if (next === end) break
      if (!first) {
        if (next !== ',') throw this.#here(`expected \`,\` or \`${end}\``)
        this.#at++
        if (this.#peek() === end) throw this.#here('trailing comma')
        if (this.#peek() === undefined) throw this.#here(EOF_VALUE)
      }
      member()
    }
    this.#at++
  }

  #member(): void {
    if (this.#peek() !== '"') throw this.#here('key must be a string')
    this.#string()
    const next = this.#peek()
    if (next === undefined) throw this.#here('EOF while parsing an object')
    if (next !== ':') throw this.#here('expected `:`')
    this.#at++
    this.#value()
  }

  #word(word: string): void {
    for (const letter of word) {
      const next = this.#take(EOF_VALUE)
      if (next !== letter) throw this.#behind('expected ident')
    }
  }

  #string(): void {
    this.#at++
    for (;;) {
      const next = this.#take('EOF while parsing a string')
      if (next === '"') return
      if (next < ' ') throw this.#behind(CONTROL)
      if (next === '\\') this.#escape()
    }
  }

  #escape(): void {
    const next = this.#take('EOF while parsing a string')
    if (next !== 'u') {
      if (!/["\\/bfnrt]/.test(next)) throw this.#behind('invalid escape')
      return
    }
    const digits = this.#text.slice(this.#at, this.#at + 4)
    this.#at += digits.length
    if (digits.length < 4) throw this.#behind('EOF while parsing a string')
    if (!/^[\da-f]{4}$/i.test(digits)) throw this.#behind('invalid escape')
  }

  #number(): void {
    if (this.#text[this.#at] === '-') this.#at++
    const first = this.#take(EOF_VALUE)
    if (!isDigit(first)) throw this.#behind('invalid number')
    if (first === '0' && isDigit(this.#text[this.#at])) throw this.#here('invalid number')
    this.#digits()
    if (this.#text[this.#at] === '.') {
      this.#at++
      if (this.#digits() === 0)
        throw this.#here(this.#at < this.#text.length ? 'invalid number' : EOF_VALUE)
    }
    if (/[eE]/.test(this.#text[this.#at] ?? '')) {
      this.#at++
      if (/[-+]/.test(this.#text[this.#at] ?? '')) this.#at++
      if (!isDigit(this.#take(EOF_VALUE))) throw this.#behind('invalid number')
      this.#digits()
    }
  }

  /** @returns how many there were */
  #digits(): number {
    const start = this.#at
    while (isDigit(this.#text[this.#at])) this.#at++
    return this.#at - start
  }

  /** What comes after blanks, not taken yet. */
  #peek(): string | undefined {
    while (/[ \t\r\n]/.test(this.#text[this.#at] ?? '')) this.#at++
    return this.#text[this.#at]
  }

  /** @throws Fault the text ends here */
  #take(eof: string): string {
    const next = this.#text[this.#at]
    if (next === undefined) throw this.#behind(eof)
    this.#at++
    return next
  }

  /** The character that comes next is wrong, or there is none. */
  #here(message: string): Fault {
    return new Fault(message, Math.min(this.#at + 1, this.#text.length))
  }

  /** The character taken last is wrong. */
  #behind(message: string): Fault {
    return new Fault(message, this.#at)
  }
}

function an(what: string): string {
  return `${what === 'object' ? 'an' : 'a'} ${what}`
}

function isDigit(text: string | undefined): boolean {
  return text !== undefined && /\d/.test(text)
}
