/** Round trips: what one trapped access takes, and what it costs the server, in turn for all servers. */
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { Child } from './child.ts'
import { cpuTime, cpuTimeSince, LoadMeter } from './cpu-time.ts'
import { type Placement, type Processors, processorsOf } from './pinning.ts'
import { Server, type ServerSpec } from './server.ts'
import { rotate } from './statistics.ts'

export type Access = 'read' | 'write'

/** How the client waits for a reply: asleep in recv, or polling as a vCPU thread might. */
export type Waiting = 'blocking' | 'polling'

/** What is measured: all servers in turn, in every round. */
export interface Cell {
  readonly access: Access
  readonly client: Waiting
  readonly placement: Placement
}

/** Latencies in ns, as bench/c/client.c prints them. */
export interface Latencies {
  readonly n: number
  /** Round trips in all, those of the warm-up included. */
  readonly messages: number
  readonly min: number
  readonly mean: number
  readonly p50: number
  readonly p90: number
  readonly p99: number
}

/** One server in one cell of one round. */
export interface Sample {
  readonly cell: Cell
  readonly server: string
  readonly round: number
  readonly latencies: Latencies
  /** Processor time of the server per message, ns. */
  readonly cpuPerMessage: number
  /** Whether the machine was quiet when it began. */
  readonly quiet: boolean
  /** What share of the machine went to other processes meanwhile, 0 to 1. */
  readonly otherLoad: number
}

export interface RoundTripOptions {
  readonly rounds: number
  /** Timed round trips in each sample, and how long they may take at most. */
  readonly count: number
  readonly maxMs: number
  /** Round trips in each cell before the first round: compilers and adaptive servers find their form. */
  readonly rehearsal: number
  /** How long the client thinks between two accesses, us. */
  readonly gapUs: number
  /** How long to wait for a quiet machine before each sample. */
  readonly patienceMs: number
}

/** More than this share of the machine used by others is not quiet. */
export const QUIET_LOAD = 0.15
const QUIET_WINDOW_MS = 120

/** All combinations, in the order in which a round goes through them. */
export function cellsOf(
  accesses: readonly Access[],
  placements: readonly Placement[],
): readonly Cell[] {
  return accesses.flatMap((access) =>
    (['blocking', 'polling'] as const).flatMap((client) =>
      placements.map((placement) => ({ access, client, placement })),
    ),
  )
}

/**
 * Measures every server in every cell, round by round.
 *
 * Within a cell the servers follow each other directly, in another order each round, so that whatever the machine does
 * meanwhile happens to all of them.
 *
 * @param directory for the servers' sockets
 * @param allowed   processors that may be used
 * @param tell      is told how far we are
 */
export async function measureRoundTrips(
  client: string,
  specs: readonly ServerSpec[],
  cells: readonly Cell[],
  directory: string,
  allowed: readonly number[],
  options: RoundTripOptions,
  tell: (progress: string) => void,
): Promise<Sample[]> {
  const servers: { server: Server; placement: Placement }[] = []
  try {
    for (const placement of new Set(cells.map((cell) => cell.placement))) {
      for (const [index, spec] of specs.entries()) {
        if (!spec.placements.includes(placement)) continue
        const server = await Server.start(spec, {
          directory: `${directory}/${placement}-${index}`,
          processor: processorsOf(placement, allowed).server,
        })
        servers.push({ server, placement })
      }
    }
    const samples: Sample[] = []
    const rehearsal = { ...options, count: options.rehearsal, gapUs: 0, patienceMs: 0 }
    for (let round = -1; round < options.rounds; round++) {
      tell(round < 0 ? 'rehearsing' : `round ${round + 1} of ${options.rounds}`)
      for (const cell of cells) {
        const here = servers.filter(({ placement }) => placement === cell.placement)
        for (const { server } of rotate(here, Math.max(round, 0))) {
          const processors = processorsOf(cell.placement, allowed)
          const how = round < 0 ? rehearsal : options
          const sample = await measure(client, server, cell, processors, how)
          if (round >= 0) samples.push({ ...sample, round })
        }
      }
    }
    return samples
  } finally {
    for (const { server } of servers) await server[Symbol.asyncDispose]()
  }
}

async function measure(
  program: string,
  server: Server,
  cell: Cell,
  processors: Processors,
  options: RoundTripOptions,
): Promise<Omit<Sample, 'round'>> {
  const { count, maxMs, gapUs } = options
  const command = [program, '--count', String(count), '--max-ms', String(maxMs)]
  command.push('--gap', String(gapUs))
  if (cell.access === 'write') command.push('--write')
  if (cell.client === 'polling') command.push('--poll')
  if (server.spec.keepsWrites) command.push('--verify')
  command.push(server.sockets[0]!)
  await using client = await Child.start('client', processors.client, command)
  await client.next<{ ready: true }>()

  const load = new LoadMeter(cpus().length, [server.pid, client.pid])
  const quiet = await awaitQuiet(load, options.patienceMs)
  const before = cpuTime(server.pid)
  client.send('go')
  const latencies = await client.next<Latencies>()
  const used = cpuTimeSince(before, cpuTime(server.pid))
  const otherLoad = load.lap()
  await client.end()
  return {
    cell,
    server: server.spec.name,
    latencies,
    cpuPerMessage: used.ns / latencies.messages,
    quiet,
    otherLoad,
  }
}

/** Waits until others have left the machine alone for a moment. @returns whether they did in time */
async function awaitQuiet(load: LoadMeter, patienceMs: number): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  do {
    load.lap()
    await sleep(QUIET_WINDOW_MS)
    if (load.lap() < QUIET_LOAD) return true
  } while (performance.now() < deadline)
  return false
}
