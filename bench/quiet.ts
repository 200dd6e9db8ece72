/** Waits for a quiet machine before a sample, and watches whether it stayed so. */
import { cpus } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import { LoadMeter } from './cpu-time.ts'

/** More than this share of the machine used by others is not quiet. */
const QUIET_LOAD = 0.15
const WINDOW_MS = 120

/** How a sample fared. */
export interface Quiet {
  /** Whether the machine was quiet when it began. */
  readonly quiet: boolean
  /** What share of the machine went to other processes meanwhile, 0 to 1. */
  readonly otherLoad: number
}

/** Runs `work` once others leave the machine alone; `pids` are what is measured, so not others. */
export type Quietly = <T>(pids: readonly number[], work: () => Promise<T>) => Promise<T>

/** Without waiting: for rehearsals, and for what is not compared. */
export const immediately: Quietly = async (_pids, work) => work()

/** One sample's watch: `quietly` is for who measures, {@link QuietWatch.result} for who wants to know how it went. */
export class QuietWatch {
  readonly #patienceMs: number
  #result: Quiet = { quiet: true, otherLoad: 0 }

  /** @param patienceMs how long to wait for a quiet machine; then it is measured all the same */
  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs
  }

  get result(): Quiet {
    return this.#result
  }

  readonly quietly: Quietly = async (pids, work) => {
    const load = new LoadMeter(cpus().length, pids)
    const quiet = await awaitQuiet(load, this.#patienceMs)
    const value = await work()
    this.#result = { quiet, otherLoad: load.lap() }
    return value
  }
}

/** Waits until others have left the machine alone for a moment. @returns whether they did in time */
async function awaitQuiet(load: LoadMeter, patienceMs: number): Promise<boolean> {
  const deadline = performance.now() + patienceMs
  do {
    load.lap()
    await sleep(WINDOW_MS)
    if (load.lap() < QUIET_LOAD) return true
  } while (performance.now() < deadline)
  return false
}

/** How much others disturbed, in one line. */
export function disturbance(samples: readonly Quiet[]): string {
  const began = samples.filter((sample) => !sample.quiet).length
  const during = samples.filter((sample) => sample.otherLoad >= QUIET_LOAD).length
  return (
    `Disturbance: of ${samples.length} samples ${began} began before the machine was quiet, ` +
    `and during ${during} others used more than ${QUIET_LOAD * 100} % of it.`
  )
}
