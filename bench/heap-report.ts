/** What a host says of its own heap. */
import { type HeapProfiler, Session } from 'node:inspector'
import { constants, type NodeGCPerformanceDetail, PerformanceObserver } from 'node:perf_hooks'
import { setImmediate as turn } from 'node:timers/promises'
import { ErrnoError } from '../src/lib/errno.ts'

/** Bytes, and collections since the start that nobody asked for. */
export interface HeapReport {
  /** Used when asked, garbage included. */
  readonly usedNow: number
  /** Used after a full collection. */
  readonly used: number
  /** Allocated since the first report, what has been collected included; an estimate from samples. */
  readonly allocated: number
  readonly scavenges: number
  readonly others: number
}

/** Of the event loop, until an observer has surely been told of a collection. */
const TURNS = 3
/** Bytes between two samples: so few that what is measured does not notice. */
const SAMPLING_INTERVAL = 16 * 1024

/** Counts collections from now on. @returns what reports them, and collects the garbage, with `--expose-gc` */
export function watchHeap(): () => Promise<HeapReport> {
  let scavenges = 0
  let others = 0
  let reportBegan = Infinity
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      if (entry.startTime >= reportBegan) continue // our own
      const { kind } = (entry as unknown as { detail: NodeGCPerformanceDetail }).detail
      if (kind === constants.NODE_PERFORMANCE_GC_MINOR) scavenges++
      else others++
    }
  })
  observer.observe({ entryTypes: ['gc'] })
  let allocatedSoFar: (() => number) | undefined
  return async () => {
    reportBegan = performance.now()
    const usedNow = process.memoryUsage().heapUsed
    const allocated = (allocatedSoFar ??= sampleAllocations())()
    if (globalThis.gc === undefined)
      throw new ErrnoError('EOPNOTSUPP', 'heap: node runs without --expose-gc')
    globalThis.gc()
    const used = process.memoryUsage().heapUsed
    for (let i = 0; i < TURNS; i++) await turn()
    reportBegan = Infinity
    return { usedNow, used, allocated, scavenges, others }
  }
}

/** @returns what tells how many bytes have been allocated since */
function sampleAllocations(): () => number {
  const session = new Session()
  session.connect()
  const settings = {
    samplingInterval: SAMPLING_INTERVAL,
    includeObjectsCollectedByMinorGC: true,
    includeObjectsCollectedByMajorGC: true,
  }
  session.post('HeapProfiler.startSampling', settings)
  return () => {
    let allocated = 0
    // a session in its own thread answers before post() returns
    session.post('HeapProfiler.getSamplingProfile', (error, { profile }) => {
      if (error !== null) throw error
      allocated = sizeOf(profile.head)
    })
    return allocated
  }
}

function sizeOf(node: HeapProfiler.SamplingHeapProfileNode): number {
  return node.children.reduce((sum, child) => sum + sizeOf(child), node.selfSize)
}
