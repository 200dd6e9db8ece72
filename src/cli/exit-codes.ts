/** How `mdevkit` ends: what each exit code means, and which one an error has. */
import { UnreachableError } from '../http/unreachable-error.ts'
import type { ErrnoCode } from '../lib/errno.ts'
import { Refusal, UsageError } from './mdevctl-refusal.ts'

export const DONE = 0
export const REFUSED = 1
export const USAGE = 2
export const NOT_FOUND = 3
export const EXISTS = 4
export const NO_CAPACITY = 5
export const BUSY = 6
export const DENIED = 7
export const UNREACHABLE = 8

interface ExitCode {
  readonly code: number
  readonly meaning: string
  /** Those that end so. */
  readonly errnos: readonly ErrnoCode[]
}

/** All of them, as documents show them. */
export const EXIT_CODES: readonly ExitCode[] = [
  { code: DONE, meaning: 'done', errnos: [] },
  { code: REFUSED, meaning: 'refused, for another reason than those below', errnos: [] },
  { code: USAGE, meaning: 'wrong usage', errnos: [] },
  {
    code: NOT_FOUND,
    meaning: 'what is named is not there',
    errnos: ['ENOENT', 'ENODEV', 'ENXIO'],
  },
  { code: EXISTS, meaning: 'it is there already', errnos: ['EEXIST'] },
  {
    code: NO_CAPACITY,
    meaning: 'no instance, or no room, is left',
    errnos: ['ENOSPC', 'EUSERS', 'EDQUOT', 'ENOMEM'],
  },
  { code: BUSY, meaning: 'somebody uses it', errnos: ['EBUSY', 'EAGAIN'] },
  { code: DENIED, meaning: 'not allowed to', errnos: ['EPERM', 'EACCES'] },
  {
    code: UNREACHABLE,
    meaning: 'the daemon, or a host, does not answer',
    errnos: ['ECONNREFUSED', 'ECONNRESET', 'ENOTCONN', 'ETIMEDOUT'],
  },
]

/** Of anything thrown. */
export function exitCodeOf(error: unknown): number {
  if (error instanceof UsageError) return USAGE
  if (error instanceof Refusal) return ofErrno(error.code) ?? exitCodeOf(error.origin)
  if (!(error instanceof Error && 'code' in error)) return REFUSED
  const ofItself = ofErrno(error.code)
  if (error instanceof UnreachableError && ofItself !== DENIED) return UNREACHABLE
  return ofItself ?? REFUSED
}

function ofErrno(code: unknown): number | undefined {
  return EXIT_CODES.find(({ errnos }) => errnos.some((errno) => errno === code))?.code
}
