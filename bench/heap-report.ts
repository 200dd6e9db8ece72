/** What a host says of its own heap. */
import { constants, type NodeGCPerformanceDetail, PerformanceObserver } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { ErrnoError } from '../src/lib/errno.ts'

/** Bytes, and collections since the start that nobody asked for. */
export interface HeapReport {
  /** Used when asked, garbage included. */
  readonly usedNow: number
  /** Used after a full collection. */
  readonly used: number
  readonly scavenges: number
  readonly others: number
}

/** Of the event loop, until an observer has surely been told of a collection. */
const TURNS = 3

/** Counts collections from now on. @returns what reports them, and collects the garbage, with `--expose-gc` */
export function watchHeap(): () => Promise<HeapReport> {
  let scavenges = 0
  let others = 0
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { kind, flags } = (entry as unknown as { detail: NodeGCPerformanceDetail }).detail
      if ((flags & constants.NODE_PERFORMANCE_GC_FLAGS_FORCED) !== 0) continue
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) scavenges++
      else others++
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  return async () => {
    const usedNow = process.memoryUsage().heapUsed
    if (globalThis.gc === undefined)
      throw new ErrnoError('EOPNOTSUPP', 'heap: node runs without --expose-gc')
    globalThis.gc()
    const used = process.memoryUsage().heapUsed
    for (let i = 0; i < TURNS; i++) await turn()
    return { usedNow, used, scavenges, others }
  }
}
