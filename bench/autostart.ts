/** Autostart: how long a daemon takes until all that is defined is active, and what that costs afterwards. */
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import { ManagedMachine, privateBytes } from './managed-machine.ts'
import type { Bench, Findings, Part } from './part.ts'
import { median, ratios, spread } from './statistics.ts'
import { formatTable } from './table.ts'

const COUNTS = [0, 100, 1000]
const MOST_ROUNDS = 5 // half a minute each
const SETTLE_MS = 10_000
const IDLE_MS = 10_000
const QUICK_MS = 1000

interface Sample {
  readonly count: number
  readonly round: number
  /** From the daemon's start until all are active. */
  readonly startMs: number
  /** Private memory, bytes. */
  readonly hosts: number
  readonly daemon: number
  /** Processor time of the daemon and its hosts while nothing happens, as a share of one processor. */
  readonly idle: number
}

export const autostart: Part = {
  name: 'autostart',
  about:
    'a daemon with three parents and 0, 100, 1000 definitions: time to all active, memory, idle',
  async measure(bench): Promise<Findings> {
    const samples: Sample[] = []
    for (let round = 0; round < Math.min(bench.rounds, MOST_ROUNDS); round++) {
      for (const count of COUNTS) {
        bench.tell(`round ${round + 1}: ${count} mdevs`)
        samples.push(await sample(bench, round, count))
      }
    }
    return { text: textOf(samples), data: samples }
  },
}

async function sample(bench: Bench, round: number, count: number): Promise<Sample> {
  await using machine = new ManagedMachine(bench.directory)
  machine.define(count)
  const startMs = await machine.start(count)
  const { daemon, hosts } = machine.pids
  await sleep(bench.quick ? QUICK_MS : SETTLE_MS) // V8 collects the garbage of starting
  const all = [daemon, ...hosts]
  const before = all.map(cpuTime)
  const idleMs = bench.quick ? QUICK_MS : IDLE_MS
  await sleep(idleMs)
  const used = all.map((pid, index) => cpuTimeSince(before[index]!, cpuTime(pid)).ns)
  return {
    count,
    round,
    startMs,
    hosts: hosts.reduce((sum, pid) => sum + privateBytes(pid), 0),
    daemon: privateBytes(daemon),
    idle: used.reduce((sum, ns) => sum + ns, 0) / (idleMs * 1e6),
  }
}

const KIB = 1024

function textOf(samples: readonly Sample[]): string {
  const of = (count: number) => samples.filter((each) => each.count === count)
  const byRound = (count: number) => new Map(of(count).map((each) => [each.round, each.startMs]))
  const middle = (count: number, value: (each: Sample) => number) => median(of(count).map(value))
  const rows = COUNTS.map((count) => {
    const starts = byRound(count)
    const ratio = spread(ratios(starts, byRound(0)))
    const perMdev = (value: (each: Sample) => number) =>
      count === 0 ? '' : ((middle(count, value) - middle(0, value)) / count / KIB).toFixed(1)
    return [
      String(count),
      middle(count, ({ startMs }) => startMs).toFixed(0),
      count === 0 ? '' : ratio.median.toFixed(2),
      count === 0 ? '' : `${ratio.low.toFixed(2)} - ${ratio.high.toFixed(2)}`,
      perMdev(({ hosts }) => hosts),
      perMdev(({ daemon }) => daemon),
      (100 * middle(count, ({ idle }) => idle)).toFixed(3),
    ]
  })
  const right = (title: string) => ({ title, align: 'right' as const })
  const table = formatTable(
    [
      right('mdevs'),
      right('start ms'),
      right('start / 0 mdevs'),
      { title: 'half of rounds' },
      right('hosts, KiB/mdev'),
      right('daemon, KiB/mdev'),
      right('idle, % of a processor'),
    ],
    rows,
  )
  const notes = [
    'Start: from starting the daemon until three hosts are there, and every mdev is active. Memory: private, less that with no mdev.',
    'Idle: daemon and hosts together.',
  ]
  return [`Autostart, ${of(0).length} rounds`, '', table, '', ...notes].join('\n')
}
