/** `mdevkit conformance`: checks any vfio-user server against the protocol. */
import { CHECKS } from '../vfio-user/conformance/checks.ts'
import {
  type CheckResult,
  isCheckName,
  NOT_ALLOWED,
  type Report,
  runChecks,
} from '../vfio-user/conformance/run.ts'

export interface ConformanceOptions {
  readonly socket: string
  readonly json?: boolean
  readonly destructive?: boolean
  /** All unless given. */
  readonly only?: readonly string[]
}

const ID_WIDTH = Math.max(...CHECKS.map(({ id }) => id.length))
const MARKS = { pass: 'pass', fail: 'FAIL', skip: 'skip' } as const
/** What failing checks add lines under. */
const INDENT = ' '.repeat(MARKS.fail.length + 2)

/** The first name that is no check, and no group of checks. */
export function unknownCheck({ only = [] }: ConformanceOptions): string | undefined {
  return only.find((name) => !isCheckName(name))
}

/**
 * Runs the checks; the exit code is 1 if any of them fails.
 *
 * @throws what keeps the socket from being used
 */
export async function conformance(options: ConformanceOptions): Promise<void> {
  const { socket, json = false, destructive = false, only } = options
  const report = await runChecks({
    path: socket,
    destructive,
    ...(only === undefined ? {} : { only }),
    ...(json ? {} : { onResult: (result) => process.stdout.write(asText(result)) }),
  })
  process.stdout.write(json ? `${JSON.stringify(report)}\n` : summary(report))
  if (report.failed > 0) process.exitCode = 1
}

function asText({ id, rule, result, reason, expected, got }: CheckResult): string {
  const line = `${MARKS[result]}  ${id.padEnd(ID_WIDTH)}  ${reason ?? rule}\n`
  if (result !== 'fail') return line
  return `${line}${INDENT}expected  ${expected}\n${INDENT}got       ${got}\n`
}

function summary({ passed, failed, skipped, results, stopped }: Report): string {
  const lines = [`\n${passed} passed, ${failed} failed, ${skipped} skipped`]
  if (results.some(({ reason }) => reason === NOT_ALLOWED))
    lines.push('--destructive runs those that may disturb the device, too')
  if (stopped !== undefined) lines.push(`stopped: ${stopped}`)
  return `${lines.join('\n')}\n`
}
