/** Which processor runs what: on a wake-up the placement of both ends decides more than the software does. */
import { readFileSync } from 'node:fs'
import { ErrnoError } from '../src/lib/errno.ts'

/** `split`: client and server on different processors; `same`: both on one. */
export type Placement = 'split' | 'same'

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

/** The command line that runs `command` on `processor`, all threads it will ever have included. */
export function pinned(processor: number, command: readonly string[]): readonly string[] {
  return ['taskset', '-c', String(processor), ...command]
}
