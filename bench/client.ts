/** Timed accesses: runs bench/c/client.c against a server, and says what they took and what they cost the server. */
import type { Bench } from './part.ts'
import { Child } from './child.ts'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import { type Placement, type Processors, processorsOf } from './pinning.ts'
import { immediately, type Quietly } from './quiet.ts'
import type { Case, Contestant, Figures } from './rounds.ts'
import type { Server } from './server.ts'

export type Access = 'read' | 'write' | 'post'

/** What the client does. */
export interface Accesses {
  readonly access: Access
  /** Whether it polls for replies, as a vCPU thread might, instead of sleeping in recv. */
  readonly polls?: boolean
  /** Bytes of each access; 4 unless given. */
  readonly size?: number
  /** How long it thinks, busy, between two accesses, us; 0 unless given. */
  readonly gapUs?: number
  /** Timed accesses in a sample, and before the first round; posted ones are timed in batches of so many. */
  readonly count?: number
  readonly rehearsal?: number
  readonly batch?: number
}

/** What the client prints, ns. */
interface Latencies {
  readonly n: number
  /** Accesses in all, those of the warm-up included. */
  readonly messages: number
  readonly p50: number
  readonly p99: number
}

const COUNT = 10_000
const REHEARSAL = 30_000
const MAX_MS = 1000
const MAX_WARM_UP = 500 // untimed accesses at the start of a sample
const QUICK = 5 // as many times fewer

/** The figures of {@link timeAccesses}. */
export const ACCESS_FIGURES = [
  { name: 'p50', title: 'p50 us', compared: true },
  { name: 'p99', title: 'p99 us' },
  { name: 'cpu', title: 'CPU us/msg' },
] as const

/** A contestant that is a server which the C client accesses. */
export function accessed(
  bench: Bench,
  server: Server,
  processors: Processors,
  accesses: Accesses,
  targets?: Figures,
): Contestant {
  const { count = COUNT, rehearsal = REHEARSAL } = accesses
  const scale = bench.quick ? QUICK : 1
  const less = (number: number) => Math.max(1, Math.ceil(number / scale))
  const run = async (options: Accesses, maxMs: number, quietly: Quietly) =>
    timeAccesses(bench.programs.client, server, processors, options, maxMs, quietly)
  return {
    name: server.spec.name,
    targets,
    async rehearse() {
      const options = { ...accesses, count: less(rehearsal), gapUs: 0 }
      await run(options, MAX_MS, immediately)
    },
    measure: async (quietly) =>
      run({ ...accesses, count: less(count) }, MAX_MS / (bench.quick ? QUICK : 1), quietly),
  }
}

/** @returns p50 and p99 of one access, and processor time of the server per message, us */
export async function timeAccesses(
  program: string,
  server: Server,
  processors: Processors,
  accesses: Accesses,
  maxMs: number,
  quietly: Quietly,
): Promise<Figures> {
  await using client = await Child.start(`client of ${server.spec.name}`, processors.client, [
    program,
    ...clientOptions(accesses, maxMs, server.spec.keepsWrites),
    server.sockets[0]!,
  ])
  await client.next<{ ready: true }>()
  const figures = await quietly([server.pid, client.pid], async () => {
    const before = cpuTime(server.pid)
    client.send('go')
    const { messages, p50, p99 } = await client.next<Latencies>()
    const used = cpuTimeSince(before, cpuTime(server.pid))
    return { p50: p50 / 1000, p99: p99 / 1000, cpu: used.ns / messages / 1000, messages }
  })
  await client.end()
  return figures
}

function clientOptions(accesses: Accesses, maxMs: number, keepsWrites: boolean): string[] {
  const { access, polls, size = 4, gapUs = 0, count = COUNT, batch } = accesses
  const warmUp = Math.min(MAX_WARM_UP, Math.ceil(count / 20))
  const numbers = { size, count, gap: gapUs, 'warm-up': warmUp, 'max-ms': maxMs }
  return [
    ...Object.entries(numbers).flatMap(([name, value]) => [`--${name}`, String(value)]),
    ...(access === 'read' ? [] : [`--${access}`]),
    ...(batch === undefined ? [] : ['--batch', String(batch)]),
    ...(polls ? ['--poll'] : []),
    ...(keepsWrites ? ['--verify'] : []),
  ]
}

/** A case in which the same accesses are made to each server. */
export function accessCase(
  bench: Bench,
  servers: readonly Server[],
  placement: Placement,
  accesses: Accesses,
  labels: readonly string[],
  targets?: Figures,
): Case {
  const isHost = (server: Server) => bench.hosts.includes(server.spec)
  const processors = processorsOf(placement, bench.allowed)
  return {
    labels,
    contestants: servers.map((server) =>
      accessed(bench, server, processors, accesses, isHost(server) ? targets : undefined),
    ),
  }
}
