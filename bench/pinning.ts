/** Which processor runs what: on a wake-up the placement of both ends decides more than the software does. */
import { readFileSync } from 'node:fs'
import { ErrnoError } from '../src/lib/errno.ts'

/** `split`: client and server on different processors; `same`: both on one. */
export type Placement = 'split' | 'same'

/** As tables call them. */
export const PLACEMENT_NAMES = { split: 'different', same: 'same' } as const satisfies Record<
  Placement,
  string
>

/** A reply within half of a sleeping echo's time, where the host has a processor to poll on; little overhead where not. */
export const LATENCY_TARGETS = { split: 0.5, same: 1.5 } as const satisfies Record<
  Placement,
  number
>

export interface Processors {
  readonly client: number
  readonly server: number
}

/** `0-2,8` as numbers: the format of cpusets and of /proc. */
export function parseProcessorList(list: string): number[] {
  return list
    .trim()
    .split(',')
    .filter((run) => run !== '')
    .flatMap((run) => {
      const [first, last = first] = run.split('-').map(Number)
      return Array.from({ length: last! - first! + 1 }, (_, index) => first! + index)
    })
}

/** The processors that this process may use. */
export function allowedProcessors(): number[] {
  const status = readFileSync('/proc/self/status', 'utf8')
  return parseProcessorList(/^Cpus_allowed_list:\s*(.*)$/m.exec(status)?.[1] ?? '')
}

/**
 * The processors of a placement: the first allowed one for the client, the second for the server.
 *
 * @throws ENODEV only one processor, and `split` wants two
 */
export function processorsOf(placement: Placement, allowed: readonly number[]): Processors {
  const client = allowed[0] ?? 0
  const server = placement === 'same' ? client : allowed[1]
  if (server === undefined) {
    throw new ErrnoError('ENODEV', 'client and server on different processors: there is only one')
  }
  return { client, server }
}

/** The command line that runs `command` on these processors, all threads it will ever have included. */
export function pinned(
  processors: number | readonly number[],
  command: readonly string[],
): readonly string[] {
  return ['taskset', '-c', [processors].flat().join(), ...command]
}

/** Which processors a table is about, in one line. */
export function placementNote(allowed: readonly number[]): string {
  if (allowed.length < 2) return 'Only one processor: no rows for different ones.'
  const { client, server } = processorsOf('split', allowed)
  return `Processors: client ${client}, server ${server} (different) or ${client} (same).`
}
