/** A part of the benchmark: one thing that is measured, and what all parts are given to measure with. */
import type { CPrograms } from './c-programs.ts'
import type { Placement } from './pinning.ts'
import type { ServerSpec } from './server.ts'

/** One file exports one of these, and `parts.ts` lists them. */
export interface Part {
  /** What `--only` takes. */
  readonly name: string
  /** What it measures, against what; one line, for `--list`. */
  readonly about: string
  /** @throws what keeps it from measuring; the parts after it are measured all the same */
  measure(bench: Bench): Promise<Findings>
}

export interface Findings {
  /** For people: tables, and how to read them. */
  readonly text: string
  /** For `--json`, samples included. */
  readonly data: unknown
}

/** What all parts share. */
export interface Bench {
  readonly programs: CPrograms
  /** What servers are compared with. */
  readonly echo: ServerSpec
  /** What is compared: mdevkit, and the other builds that `--also` names. */
  readonly hosts: readonly ServerSpec[]
  /** For this part's files and sockets; empty. */
  readonly directory: string
  /** Processors that may be used. */
  readonly allowed: readonly number[]
  /** What they allow. */
  readonly placements: readonly Placement[]
  readonly rounds: number
  /** Few and short samples: to see that it works. */
  readonly quick: boolean
  /** Is told how far we are. */
  tell(progress: string): void
}
