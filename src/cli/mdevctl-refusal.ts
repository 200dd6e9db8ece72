/** How mdevctl refuses: with a usage error in clap's words, or with an error and what caused it. */

/** Exit codes: refused, wrong usage. */
const REFUSED = 1
const USAGE = 2

/** The command line is wrong. The message is clap's, on one line: "unexpected argument '-x' found". */
export class UsageError extends Error {}

/** What was asked for is refused. The message is mdevctl's; `cause`, if there is one, is a text too. */
export class Refusal extends Error {
  constructor(message: string, cause?: string) {
    super(message, cause === undefined ? {} : { cause })
  }
}

/** What is printed on standard error, and the exit code; undefined for an error of another kind. */
export function refusalOf(
  error: unknown,
): { readonly text: string; readonly exitCode: number } | undefined {
  if (error instanceof UsageError) return { text: `error: ${error.message}\n`, exitCode: USAGE }
  if (!(error instanceof Refusal)) return undefined
  const cause = typeof error.cause === 'string' ? `\nCaused by:\n    ${error.cause}\n` : ''
  return { text: `Error: ${error.message}\n${cause}`, exitCode: REFUSED }
}
