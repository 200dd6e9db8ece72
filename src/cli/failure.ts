/** How a command that fails ends: what it says on standard error, and its exit code. */
import { CommanderError } from 'commander'
import { describeFault } from '../lib/driver-fault.ts'
import { errnoCode, errnoOf } from '../lib/errno.ts'
import { DONE, exitCodeOf, REFUSED, USAGE } from './exit-codes.ts'
import { hintOf, usageHint } from './hints.ts'
import { Refusal, refusalOf, UsageError } from './mdevctl-refusal.ts'

export interface Failure {
  /** Lines for standard error; empty where commander has said it. */
  readonly text: string
  readonly exitCode: number
}

/**
 * @param error     what it threw
 * @param command   its name, as far as it is known; else empty
 * @param asMdevctl whether it is to say and end no more than mdevctl does
 */
export function failureOf(error: unknown, command: string, asMdevctl: boolean): Failure {
  const isUsage = error instanceof CommanderError // which has said itself what is wrong
  if (isUsage && error.exitCode === DONE) return { text: '', exitCode: DONE } // help, or the version
  const telling = isUsage ? USAGE : exitCodeOf(error)
  const text = isUsage ? '' : linesOf(error, command)
  if (asMdevctl) return { text, exitCode: telling === USAGE ? USAGE : REFUSED }
  const hint =
    isUsage && error.code === 'commander.help'
      ? undefined
      : telling === USAGE
        ? usageHint(command)
        : hintOf(error, command)
  if (hint === undefined) return { text, exitCode: telling }
  const errno = errnoNameOf(error)
  const named = errno === undefined || text.includes(`${errno}: `) ? '' : ` (${errno})`
  return { text: `${text}hint: ${hint}${named}\n`, exitCode: telling }
}

/** Of mdevctl's words too, which name none. */
function errnoNameOf(error: unknown): string | undefined {
  if (error instanceof UsageError) return 'EINVAL'
  if (error instanceof Refusal) return error.code ?? errnoNameOf(error.origin)
  if (!(error instanceof Error && 'code' in error)) return undefined
  return errnoCode(errnoOf(error))
}

function linesOf(error: unknown, command: string): string {
  const refusal = refusalOf(error)
  if (refusal !== undefined) return refusal.text
  const prefix = command === '' ? 'mdevkit' : `mdevkit ${command}`
  return `${prefix}: ${oneLine(describeFailure(error))}\n`
}

/** A refusal is one line, whoever worded it. */
export function oneLine(text: string): string {
  return text
    .replace(/^error: /, '')
    .trim()
    .replaceAll(/\s*\n\s*/g, ' ')
}

/** With an errno and a message; what was thrown without an errno is a bug, and by the wire's rule EIO. */
function describeFailure(error: unknown): string {
  const text = describeFault(error)
  if (error instanceof Error) return 'code' in error ? text : `EIO: ${error.name}: ${text}`
  return `EIO: ${text}`
}
