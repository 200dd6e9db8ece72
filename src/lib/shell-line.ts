/** Command lines as people paste them. */

/** `words` as one line that a POSIX shell splits back into them. */
export function shellLine(words: readonly string[]): string {
  return words.map(shellQuote).join(' ')
}

/** One word, quoted where a shell would otherwise do something with it. */
export function shellQuote(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}
