/** Errors are errno: one class, in the shape of Node's own system errors, from the device to the wire. */
import { constants } from 'node:os'
import { inspect } from 'node:util'

/** Of asm-generic/errno.h, what Node does not name. */
const UNNAMED = { EUSERS: 87, ESHUTDOWN: 108 } as const

/** By name. */
const NUMBERS = { ...constants.errno, ...UNNAMED }

/** Names of Linux errors, such as 'EINVAL'. */
export type ErrnoCode = keyof typeof NUMBERS

const NAMES = new Map<number, ErrnoCode>(
  (Object.entries(NUMBERS) as [ErrnoCode, number][])
    .toReversed()
    .map(([name, number]) => [number, name]),
).set(NUMBERS.EOPNOTSUPP, 'EOPNOTSUPP') // ENOTSUP is the same number

/** Largest errno that Linux returns (MAX_ERRNO in the kernel's err.h). */
export const MAX_ERRNO = 4095

/**
 * A refusal. `code` is the name ('EFAULT'), `errno` the positive number (14).
 *
 * The message names the object and says what is wrong with it, values included; lower case, no full stop.
 */
export class ErrnoError extends Error {
  readonly code: ErrnoCode
  readonly errno: number

  constructor(code: ErrnoCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'ErrnoError'
    this.code = code
    this.errno = NUMBERS[code]
  }
}

/** The name of a positive errno: 'EINVAL' for 22, 'EIO' for one that Linux does not know. */
export function errnoCode(errno: number): ErrnoCode {
  return NAMES.get(errno) ?? 'EIO'
}

/**
 * The positive errno of anything thrown: our own errors and Node's system errors (whose `errno` is negative) say it
 * themselves, all else is EIO.
 */
export function errnoOf(error: unknown): number {
  if (error instanceof Error && 'errno' in error && typeof error.errno === 'number') {
    const errno = Math.abs(error.errno)
    if (Number.isInteger(errno) && errno > 0 && errno <= MAX_ERRNO) return errno
  }
  return constants.errno.EIO
}

/** What the `code` of anything thrown says, as Node's own errors have it: 'ENOENT', 'ERR_…'; undefined where there is none. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined
}

/** `ECODE: message`, for one line on a terminal or in a log. */
export function describeError(error: unknown): string {
  if (typeof error === 'string') return error
  // not String(), which calls what was thrown and so may throw itself
  if (!(error instanceof Error)) return inspect(error, { breakLength: Infinity, compact: true })
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined
  return code === undefined || error.message.startsWith(code)
    ? error.message
    : `${code}: ${error.message}`
}
