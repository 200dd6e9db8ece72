/** What the samples of rounds say: medians, and ratios to a named reference, as numbers and as a table. */
import type { Bench, Findings } from './part.ts'
import { disturbance } from './quiet.ts'
import { type Case, type Figures, measureRounds, type Sample } from './rounds.ts'
import { median, ratios, type Spread, spread } from './statistics.ts'
import { type Column, formatTable } from './table.ts'

/** One figure of the samples as a column. */
export interface FigureColumn {
  /** In the samples' figures. */
  readonly name: string
  /** With its unit. */
  readonly title: string
  /** After the point; 1 unless given. */
  readonly digits?: number
  /** Whether its ratio to the reference's gets columns too. */
  readonly compared?: boolean
  /** The contestant that its ratio is taken to; the table's unless given. */
  readonly reference?: string
  /** Whether more of it is better, so that a target is the least that its ratio should be. */
  readonly moreIsBetter?: boolean
}

/** How the samples of some cases become a table. */
export interface ComparisonTable {
  readonly title: string
  /** Of the columns that the cases' labels fill. */
  readonly labels: readonly string[]
  readonly figures: readonly FigureColumn[]
  /** The contestant that ratios are taken to. */
  readonly reference: string
  /** What to know before quoting a number from it. */
  readonly notes: readonly string[]
}

/** One contestant in one case, over all rounds. */
export interface Row {
  readonly labels: readonly string[]
  readonly contestant: string
  readonly rounds: number
  /** Medians. */
  readonly figures: Figures
  /** Each figure by that of the reference, round by round; the reference itself has none. */
  readonly ratios: Readonly<Record<string, Spread>>
  /** What ratios should be at most, or at least, where that has been promised. */
  readonly targets: Figures
}

/** Measures the cases and makes a table of them. */
export async function compare(
  bench: Bench,
  table: ComparisonTable,
  cases: readonly Case[],
): Promise<Findings> {
  const patienceMs = bench.quick ? 300 : 2000
  const samples = await measureRounds(cases, { rounds: bench.rounds, patienceMs }, (progress) =>
    bench.tell(progress),
  )
  const rows = summarise(samples, table)
  const text = [
    `${table.title}, ${bench.rounds} rounds`,
    '',
    comparisonTable(rows, table),
    '',
    ...table.notes,
    disturbance(samples),
  ]
  return { text: text.join('\n'), data: { rows, samples } }
}

/** The medians of each contestant in each case, in the order of `samples`, and ratios to the table's references. */
export function summarise(
  samples: readonly Sample[],
  { reference, figures }: Pick<ComparisonTable, 'reference' | 'figures'>,
): Row[] {
  const referenceOf = (name: string) =>
    figures.find((figure) => figure.name === name)?.reference ?? reference
  const key = (labels: readonly string[], contestant: string) =>
    JSON.stringify([...labels, contestant])
  const groups = new Map<string, Sample[]>()
  for (const sample of samples) {
    const name = key(sample.labels, sample.contestant)
    const group = groups.get(name)
    if (group) group.push(sample)
    else groups.set(name, [sample])
  }
  return [...groups.values()].map((group) => {
    const { labels, contestant, targets } = group[0]!
    const baseOf = (name: string) => {
      const base = referenceOf(name)
      return base === contestant ? undefined : groups.get(key(labels, base))
    }
    const names = Object.keys(group[0]!.figures)
    const each = <T>(value: (name: string) => T, of = names) =>
      Object.fromEntries(of.map((name) => [name, value(name)]))
    return {
      labels,
      contestant,
      rounds: group.length,
      figures: each((name) => median([...byRound(group, name).values()])),
      ratios: each(
        (name) => spread(ratios(byRound(group, name), byRound(baseOf(name)!, name))),
        names.filter((name) => baseOf(name) !== undefined),
      ),
      targets,
    }
  })
}

function byRound(samples: readonly Sample[], figure: string): Map<number, number> {
  return new Map(samples.map(({ round, figures }) => [round, figures[figure] ?? NaN]))
}

/** The rows as a table, case by case, the reference first. */
export function comparisonTable(
  rows: readonly Row[],
  { labels, figures, reference }: ComparisonTable,
): string {
  const compared = figures.filter((figure) => figure.compared)
  const columns: Column[] = [
    ...labels.map((title) => ({ title })),
    { title: 'server' },
    ...figures.map(({ title }) => ({ title, align: 'right' as const })),
    ...compared.flatMap(({ name, title, reference: own = reference }) => [
      { title: `${title.split(' ')[0]} / ${own}`, align: 'right' as const },
      { title: 'half of rounds' },
      ...(rows.some(({ targets }) => targets[name] !== undefined) ? [{ title: 'target' }] : []),
    ]),
  ]
  const lines: string[][] = []
  const cases = new Map(rows.map((row) => [row.labels.join(), row.labels]))
  for (const [key, names] of cases) {
    if (lines.length > 0) lines.push([])
    const here = rows
      .filter((row) => row.labels.join() === key)
      .toSorted((a, b) => Number(b.contestant === reference) - Number(a.contestant === reference))
    for (const [index, row] of here.entries()) {
      lines.push([
        ...(index === 0 ? names : names.map(() => '')),
        row.contestant,
        ...figures.map(({ name, digits = 1 }) => (row.figures[name] ?? NaN).toFixed(digits)),
        ...compared.flatMap(({ name, moreIsBetter = false }) => {
          const hasTargets = rows.some(({ targets }) => targets[name] !== undefined)
          const cells = ratioCells(row.ratios[name], row.targets[name], moreIsBetter)
          return hasTargets ? cells : cells.slice(0, 2)
        }),
      ])
    }
  }
  return formatTable(columns, lines)
}

function ratioCells(
  ratio: Spread | undefined,
  target: number | undefined,
  moreIsBetter: boolean,
): string[] {
  if (ratio === undefined) return ['', '', '']
  return [
    ratio.median.toFixed(2),
    `${ratio.low.toFixed(2)} - ${ratio.high.toFixed(2)}`,
    target === undefined ? '' : verdict(ratio.median, target, moreIsBetter),
  ]
}

function verdict(ratio: number, target: number, moreIsBetter: boolean): string {
  const isMet = moreIsBetter ? ratio >= target : ratio <= target
  return `${moreIsBetter ? '>=' : '<='} ${target}: ${isMet ? 'met' : 'missed'}`
}
