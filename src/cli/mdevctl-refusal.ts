/** How mdevctl refuses: with a usage error in clap's words, or with an error and what caused it. */
import type { ErrnoCode } from '../lib/errno.ts'

/** mdevctl's exit codes: refused, wrong usage. */
const REFUSED = 1
const USAGE = 2

/** The command line is wrong. The message is clap's, on one line: "unexpected argument '-x' found". */
export class UsageError extends Error {}

export interface RefusalOptions {
  /** What is printed below the message. */
  readonly cause?: string
  /** What kind of refusal it is. */
  readonly code?: ErrnoCode
  /** What it tells of in mdevctl's words, where that says of which kind it is. */
  readonly origin?: unknown
}

/** What was asked for is refused. The message is mdevctl's. */
export class Refusal extends Error {
  readonly code: ErrnoCode | undefined
  readonly origin: unknown

  constructor(message: string, { cause, code, origin }: RefusalOptions = {}) {
    super(message, cause === undefined ? {} : { cause })
    this.code = code
    this.origin = origin
  }
}

/** What is printed on standard error, and mdevctl's exit code; undefined for an error of another kind. */
export function refusalOf(
  error: unknown,
): { readonly text: string; readonly exitCode: number } | undefined {
  if (error instanceof UsageError) return { text: `error: ${error.message}\n`, exitCode: USAGE }
  if (!(error instanceof Refusal)) return undefined
  const cause = typeof error.cause === 'string' ? `\nCaused by:\n    ${error.cause}\n` : ''
  return { text: `Error: ${error.message}\n${cause}`, exitCode: REFUSED }
}
