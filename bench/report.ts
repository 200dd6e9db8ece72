/** What the samples say, as numbers and as a page of text. */
import { arch, cpus, release } from 'node:os'
import type { IdleResult } from './idle.ts'
import type { Placement, Processors } from './pinning.ts'
import { type Cell, QUIET_LOAD, type Sample } from './round-trips.ts'
import { median, ratios, type Spread, spread } from './statistics.ts'
import { formatTable } from './table.ts'

/** One server in one cell, over all rounds. Times in us. */
export interface Row {
  readonly cell: Cell
  readonly server: string
  readonly rounds: number
  readonly p50: number
  readonly p99: number
  readonly cpuPerMessage: number
  /** Its p50 over that of the reference, round by round; the reference itself has none. */
  readonly ratio: Spread | undefined
  /** What the ratio should be at most, where that has been promised. */
  readonly target: number | undefined
}

/** The medians of each server in each cell, in the order of `samples`, and ratios to the server named `reference`. */
export function summarise(
  samples: readonly Sample[],
  reference: string,
  targetOf: (cell: Cell, server: string) => number | undefined,
): Row[] {
  const groups = new Map<string, Sample[]>()
  for (const sample of samples) {
    const key = `${cellKey(sample.cell)}/${sample.server}`
    const group = groups.get(key)
    if (group) group.push(sample)
    else groups.set(key, [sample])
  }
  return [...groups.values()].map((group) => {
    const { cell, server } = group[0]!
    const base = server === reference ? undefined : groups.get(`${cellKey(cell)}/${reference}`)
    return summariseGroup(group, base, targetOf(cell, server))
  })
}

function summariseGroup(
  group: readonly Sample[],
  base: readonly Sample[] | undefined,
  target: number | undefined,
): Row {
  const { cell, server } = group[0]!
  const us = (value: (sample: Sample) => number) => median(group.map(value)) / 1000
  return {
    cell,
    server,
    rounds: group.length,
    p50: us((sample) => sample.latencies.p50),
    p99: us((sample) => sample.latencies.p99),
    cpuPerMessage: us((sample) => sample.cpuPerMessage),
    ratio: base && spread(ratios(p50s(group), p50s(base))),
    target,
  }
}

function cellKey(cell: Cell): string {
  return `${cell.access}/${cell.client}/${cell.placement}`
}

function p50s(samples: readonly Sample[]): Map<number, number> {
  return new Map(samples.map((sample) => [sample.round, sample.latencies.p50]))
}

const PROCESSORS = { split: 'different', same: 'same' } as const satisfies Record<Placement, string>

/** The rows as a table, cell by cell. */
export function roundTripTable(rows: readonly Row[], reference: string): string {
  const lines: string[][] = []
  let last = ''
  const servers = (key: string) =>
    rows
      .filter((row) => cellKey(row.cell) === key)
      .toSorted((a, b) => Number(b.server === reference) - Number(a.server === reference))
  for (const key of new Set(rows.map((row) => cellKey(row.cell)))) {
    if (last !== '') lines.push([])
    for (const row of servers(key)) {
      const { access, client, placement } = row.cell
      lines.push([
        ...(key === last ? ['', '', ''] : [access, client, PROCESSORS[placement]]),
        row.server,
        row.p50.toFixed(1),
        row.p99.toFixed(1),
        row.cpuPerMessage.toFixed(1),
        ...(row.ratio ? ratioCells(row.ratio, row.target) : []),
      ])
      last = key
    }
  }
  return formatTable(
    [
      { title: 'access' },
      { title: 'client' },
      { title: 'processors' },
      { title: 'server' },
      { title: 'p50 us', align: 'right' },
      { title: 'p99 us', align: 'right' },
      { title: 'CPU us/msg', align: 'right' },
      { title: `p50 / ${reference}`, align: 'right' },
      { title: 'half of rounds' },
      { title: 'target' },
    ],
    lines,
  )
}

function ratioCells(ratio: Spread, target: number | undefined): string[] {
  return [
    ratio.median.toFixed(2),
    `${ratio.low.toFixed(2)} - ${ratio.high.toFixed(2)}`,
    target === undefined ? '' : `<= ${target}: ${ratio.median <= target ? 'met' : 'missed'}`,
  ]
}

/** What to know before quoting a number from the table. */
export function howToRead(reference: string, split: Processors | undefined): string {
  const where = split
    ? `Processors: client ${split.client}, server ${split.server} (different) or ${split.client} (same).`
    : 'Only one processor: no rows for different ones.'
  return [
    'A row is the median of all rounds; servers take turns within a round. A ratio is the median over the rounds of',
    `p50 by the p50 of ${reference} in the same round: that is the number to compare between machines.`,
    'p50 and p99: one 4-byte access with reply, us. CPU: of the server process, all threads, us per message; a',
    'server that polls uses as much as it waits. A client that polls on the processor of the server competes with it.',
    where,
  ].join('\n')
}

/** How much others disturbed. */
export function disturbance(samples: readonly Sample[]): string {
  const began = samples.filter((sample) => !sample.quiet).length
  const during = samples.filter((sample) => sample.otherLoad >= QUIET_LOAD).length
  return (
    `Disturbance: of ${samples.length} samples ${began} began before the machine was quiet, ` +
    `and during ${during} others used more than ${QUIET_LOAD * 100} % of it.`
  )
}

/** The idle result in one line. */
export function idleLine(idle: IdleResult): string {
  const { ns, ticks, switches } = idle.used
  return (
    `${idle.server}: ${idle.devices} open devices, ${idle.seconds} s idle: ` +
    `${ns} ns of processor time, ${ticks} ticks, ${switches} context switches (target: none)`
  )
}

/** What was measured on. */
export function machineLine(date: Date): string {
  const processors = cpus()
  return (
    `${processors[0]?.model.trim()}, ${processors.length} processors, ${arch()}, ` +
    `Linux ${release()}, Node ${process.version}, ${date.toISOString().slice(0, 10)}`
  )
}
