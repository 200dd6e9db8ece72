/** `mdevkit doctor`: what is missing on this machine, and the remedy. */
import { homedir } from 'node:os'
import { runtimeRoot } from '../host/paths.ts'
import { describeError } from '../lib/errno.ts'
import { type Check, CHECKS } from './doctor-checks.ts'
import type { DoctorSurroundings, Finding } from './doctor-finding.ts'
import { REFUSED } from './exit-codes.ts'
import { json } from './output-format.ts'
import { paintsFor } from './paint.ts'
import { table } from './table.ts'

export interface DoctorOptions {
  readonly output?: 'table' | 'json'
}

type Found = Finding & { readonly name: string }

/**
 * The exit code is 1 if something is missing without which nothing works.
 *
 * @param version of this mdevkit
 */
export async function doctor({ output = 'table' }: DoctorOptions, version: string): Promise<void> {
  const path = process.env['PATH'] ?? ''
  const surroundings = { root: runtimeRoot(), version, home: homedir(), path }
  const found = await Promise.all(
    CHECKS.map(async (check): Promise<Found> =>
      Object.assign({ name: check.name }, await foundBy(check, surroundings)),
    ),
  )
  process.stdout.write(output === 'json' ? json(found) : asText(found))
  if (found.some(({ state }) => state === 'missing')) process.exitCode = REFUSED
}

/** What keeps us from looking is a finding, too: the others are shown all the same. */
async function foundBy(check: Check, surroundings: DoctorSurroundings): Promise<Finding> {
  try {
    return await check.find(surroundings)
  } catch (error) {
    return { state: 'warn', what: `cannot be looked at: ${describeError(error)}` }
  }
}

function asText(found: readonly Found[]): string {
  const { good, fair, bad } = paintsFor(process.stdout)
  const paints = { ok: good, warn: fair, missing: bad }
  const rows = found.map(({ name, state, what }) => [
    name,
    { text: state, paint: paints[state] },
    what,
  ])
  const remedies = found.filter(({ remedy }) => remedy !== undefined)
  const wide = Math.max(...remedies.map(({ name }) => name.length))
  return [
    table(['CHECK', 'STATE', 'FOUND'], rows),
    ...(remedies.length === 0 ? [] : ['\nRemedies:\n']),
    ...remedies.map(({ name, remedy }) => `  ${name.padEnd(wide)}  ${remedy}\n`),
  ].join('')
}
