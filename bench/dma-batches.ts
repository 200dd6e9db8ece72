/** Timing of work that is too short to be timed one by one. */
import { median } from './statistics.ts'

/** What is timed. */
export interface Batch {
  /** How many of what is asked about one batch is. */
  readonly parts: number
  /** Before each batch, untimed. */
  prepare?(): void
  work(): void | Promise<void>
}

/** @returns what one part took, ns: the median of the batches */
export async function timeBatches(batches: number, batch: Batch): Promise<{ ns: number }> {
  const times: number[] = []
  for (let i = 0; i < batches; i++) {
    batch.prepare?.()
    const start = performance.now()
    const under = batch.work()
    if (under !== undefined) await under
    times.push(((performance.now() - start) * 1e6) / batch.parts)
  }
  return { ns: median(times) }
}
