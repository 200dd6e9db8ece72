/** Rounds: contestants take turns within each case of each round, so that whatever the machine does happens to all. */
import { type Quiet, type Quietly, QuietWatch } from './quiet.ts'
import { rotate } from './statistics.ts'

/** What one sample says, by name: numbers whose medians and ratios mean something. */
export type Figures = Readonly<Record<string, number>>

/** One of those that are measured in turn. */
export interface Contestant {
  readonly name: string
  /** What the ratio of a figure to the reference's should be at most, or at least, where that has been promised. */
  readonly targets?: Figures | undefined
  /** Once, before the first round: compilers and adaptive servers find their form. */
  rehearse?(): Promise<void>
  /** @param quietly to be called once, around what is timed */
  measure(quietly: Quietly): Promise<Figures>
}

/** What contestants are compared in: one group of rows of a table. */
export interface Case {
  /** One for each of the table's leading columns. */
  readonly labels: readonly string[]
  readonly contestants: readonly Contestant[]
}

/** One contestant in one case of one round. */
export interface Sample extends Quiet {
  readonly labels: readonly string[]
  readonly contestant: string
  readonly targets: Figures
  readonly round: number
  readonly figures: Figures
}

export interface RoundsOptions {
  readonly rounds: number
  /** How long to wait for a quiet machine before each sample. */
  readonly patienceMs: number
}

/**
 * Measures every contestant in every case, round by round. Within a case they follow each other directly, in another
 * order each round.
 *
 * @param tell is told how far we are
 */
export async function measureRounds(
  cases: readonly Case[],
  { rounds, patienceMs }: RoundsOptions,
  tell: (progress: string) => void,
): Promise<Sample[]> {
  tell('rehearsing')
  for (const { contestants } of cases) {
    for (const contestant of contestants) await contestant.rehearse?.()
  }
  const samples: Sample[] = []
  for (let round = 0; round < rounds; round++) {
    tell(`round ${round + 1} of ${rounds}`)
    for (const { labels, contestants } of cases) {
      for (const contestant of rotate(contestants, round)) {
        const watch = new QuietWatch(patienceMs)
        const figures = await contestant.measure(watch.quietly)
        const { name, targets = {} } = contestant
        samples.push({ labels, contestant: name, targets, round, figures, ...watch.result })
      }
    }
  }
  return samples
}
