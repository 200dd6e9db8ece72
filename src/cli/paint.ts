/** Colours, on a terminal alone. */

/** Puts a text in a colour, or leaves it as it is. */
export type Paint = (text: string) => string

export interface Paints {
  /** As it should be. */
  readonly good: Paint
  /** Not yet, or not quite. */
  readonly fair: Paint
  /** As it should not be. */
  readonly bad: Paint
}

/** @see https://no-color.org: no colour where NO_COLOR is set and not empty, whatever it is */
export function paintsFor(
  stream: { readonly isTTY?: boolean },
  { NO_COLOR: no = '', TERM: terminal }: NodeJS.ProcessEnv = process.env,
): Paints {
  const isColoured = stream.isTTY === true && no === '' && terminal !== 'dumb'
  const paint = (code: number): Paint =>
    isColoured ? (text) => `\u001b[${code}m${text}\u001b[39m` : (text) => text
  return { good: paint(32), fair: paint(33), bad: paint(31) }
}
