/** `mdevkit doctor`: what is missing on this machine, and the remedy. */
import { runtimeRoot } from '../host/paths.ts'
import { CHECKS } from './doctor-checks.ts'
import type { Finding } from './doctor-finding.ts'
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
  const surroundings = { root: runtimeRoot(), version, path: process.env['PATH'] ?? '' }
  const found = await Promise.all(
    CHECKS.map(async (check): Promise<Found> =>
      Object.assign({ name: check.name }, await check.find(surroundings)),
    ),
  )
  process.stdout.write(output === 'json' ? json(found) : asText(found))
  if (found.some(({ state }) => state === 'missing')) process.exitCode = REFUSED
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
