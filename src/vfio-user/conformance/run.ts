/** Runs checks against a server, one after the other, and says how each ended. */
import { describeError, ErrnoError } from '../../lib/errno.ts'
import type { Check } from './check.ts'
import { CHECKS } from './checks.ts'
import { CheckContext, Unreachable } from './context.ts'
import { PROPOSALS } from './requests.ts'
import { type Survey, takeSurvey } from './survey.ts'
import { Skip, Violation } from './violation.ts'

export interface CheckResult {
  readonly id: string
  readonly rule: string
  readonly reference: string
  readonly destructive: boolean
  readonly result: 'pass' | 'fail' | 'skip'
  /** Why it was skipped. */
  readonly reason?: string
  /** Of a failure. */
  readonly expected?: string
  readonly got?: string
}

export interface Report {
  readonly socket: string
  readonly server: {
    /** Of the protocol. */
    readonly version: string
    readonly capabilities: Survey['capabilities']
    readonly flags: number
    readonly regions: Survey['regions']
    readonly irqs: Survey['irqs']
  }
  readonly results: readonly CheckResult[]
  readonly passed: number
  readonly failed: number
  readonly skipped: number
  /** Why not all checks were run: the server died, or answers no more. */
  readonly stopped?: string
}

export interface RunOptions {
  /** Of the server's socket. */
  readonly path: string
  /** Whether the device may be disturbed. */
  readonly destructive: boolean
  /** Ids, or groups of ids; all unless given. */
  readonly only?: readonly string[]
  /** How long the server may take for one answer, ms; 5000 unless given, as QEMU has it. */
  readonly limitMs?: number
  /** How long one check may take, ms; 30000 unless given. */
  readonly checkLimitMs?: number
  /** Told of each result when it is there. */
  readonly onResult?: (result: CheckResult) => void
}

/** Why a check is skipped that may disturb the device. */
export const NOT_ALLOWED = 'destructive'

/** Whether `name` is an id of a check, or a group of them. */
export function isCheckName(name: string): boolean {
  return CHECKS.some(({ id }) => matches(id, name))
}

function matches(id: string, name: string): boolean {
  return id === name || id.startsWith(`${name}.`)
}

/**
 * Runs the checks.
 *
 * @throws ENOENT, ECONNREFUSED, EACCES … the socket cannot be used · EPROTO nobody answers VERSION there, or another
 *         client has the server
 */
export async function runChecks(options: RunOptions): Promise<Report> {
  const { path, destructive, only, limitMs = 5000, checkLimitMs = 30_000 } = options
  const survey = await firstContact(path, limitMs)
  const results: CheckResult[] = []
  let stopped: string | undefined
  for (const check of CHECKS) {
    if (only !== undefined && !only.some((name) => matches(check.id, name))) continue
    const outcome =
      check.destructive && !destructive
        ? { result: 'skip' as const, reason: NOT_ALLOWED }
        : await runCheck(check, new CheckContext(path, limitMs, survey), checkLimitMs)
    const { id, rule, reference } = check
    const result: CheckResult = { id, rule, reference, destructive: check.destructive, ...outcome }
    results.push(result)
    options.onResult?.(result)
    if (result.result !== 'fail') continue
    const death = await causeOfDeath(path, limitMs)
    if (death !== undefined) {
      stopped = `the server does not serve any more: ${death}`
      break
    }
  }
  const count = (wanted: string) => results.filter(({ result }) => result === wanted).length
  const { major, minor, capabilities, flags, regions, irqs } = survey
  return {
    socket: path,
    server: { version: `${major}.${minor}`, capabilities, flags, regions, irqs },
    results,
    passed: count('pass'),
    failed: count('fail'),
    skipped: count('skip'),
    ...(stopped === undefined ? {} : { stopped }),
  }
}

type Outcome = Pick<CheckResult, 'result' | 'reason' | 'expected' | 'got'>

async function runCheck(check: Check, context: CheckContext, limitMs: number): Promise<Outcome> {
  let timer: NodeJS.Timeout | undefined
  const running = check.run(context)
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(
      () => reject(new Violation(`the check to end in ${limitMs} ms`, 'no end of it')),
      limitMs,
    )
  })
  try {
    await Promise.race([running, late])
    return { result: 'pass' }
  } catch (error) {
    if (error instanceof Skip) return { result: 'skip', reason: error.message }
    if (error instanceof Violation) {
      return { result: 'fail', expected: error.expected, got: error.got }
    }
    if (error instanceof Unreachable)
      return { result: 'fail', expected: 'a server that listens', got: describe(error) }
    // an answer that the check did not think of, so that it stumbled over it
    return {
      result: 'fail',
      expected: check.rule,
      got: `an answer too odd to look at: ${describeError(error)}`,
    }
  } finally {
    clearTimeout(timer)
    await context.end()
  }
}

/** Connects as QEMU does, and asks what there is. */
async function firstContact(path: string, limitMs: number): Promise<Survey> {
  const context = new CheckContext(path, limitMs)
  try {
    const { connection, version } = await context.negotiate(PROPOSALS.qemu)
    return await takeSurvey(connection, version)
  } catch (error) {
    if (error instanceof Unreachable) throw error.cause
    if (!(error instanceof Violation)) throw error
    throw new ErrnoError('EPROTO', `${path}: expected ${error.expected}; got ${error.got}`)
  } finally {
    await context.end()
  }
}

/** Why the server cannot be asked any more; undefined while it can. */
async function causeOfDeath(path: string, limitMs: number): Promise<string | undefined> {
  const context = new CheckContext(path, limitMs)
  try {
    const connection = await context.attach()
    await connection.expectAlive('VERSION')
    return undefined
  } catch (error) {
    return describe(error)
  } finally {
    await context.end()
  }
}

function describe(error: unknown): string {
  if (error instanceof Unreachable) return describeError(error.cause)
  return describeError(error)
}
