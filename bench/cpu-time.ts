/** How much processor time a process, and the whole machine, have used. */
import { readdirSync, readFileSync } from 'node:fs'

/** What the threads of a process have used so far. */
export interface CpuTime {
  /** From schedstat; from `ticks` where the kernel has no schedstat. */
  readonly ns: number
  /** utime + stime, in ticks of 10 ms. */
  readonly ticks: number
  /** Context switches, voluntary or not: how often a thread got to run. */
  readonly switches: number
}

const NS_PER_TICK = 1e7 // USER_HZ is 100 on every Linux that runs Node

/** Reads what all threads of `pid` have used. A thread that ends takes its share along. */
export function cpuTime(pid: number): CpuTime {
  let ns = 0
  let ticks = 0
  let switches = 0
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    const directory = `/proc/${pid}/task/${thread}`
    const used = readIfThere(`${directory}/stat`)
    if (used === undefined) continue // ended meanwhile
    ticks += parseTicks(used)
    ns += parseSchedstat(readIfThere(`${directory}/schedstat`) ?? '')
    switches += parseSwitches(readIfThere(`${directory}/status`) ?? '')
  }
  return { ns: ns > 0 ? ns : ticks * NS_PER_TICK, ticks, switches }
}

/** What was used between two readings. */
export function cpuTimeSince(before: CpuTime, after: CpuTime): CpuTime {
  return {
    ns: after.ns - before.ns,
    ticks: after.ticks - before.ticks,
    switches: after.switches - before.switches,
  }
}

/** /proc/PID/stat, fields 14 and 15. The command, field 2, may contain anything, `)` included. */
export function parseTicks(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

/** /proc/PID/schedstat: ns on a processor, ns waiting for one, time slices. */
export function parseSchedstat(schedstat: string): number {
  return Number(schedstat.split(' ')[0]) || 0
}

/** /proc/PID/status: voluntary_ctxt_switches and nonvoluntary_ctxt_switches. */
export function parseSwitches(status: string): number {
  let switches = 0
  for (const [, count] of status.matchAll(/^(?:non)?voluntary_ctxt_switches:\s*(\d+)/gm)) {
    switches += Number(count)
  }
  return switches
}

/** How long each processor has been idle, summed, in ns. Idle time is exact; the rest of this file is sampled. */
export function parseIdle(stat: string): number {
  const fields = stat.slice(0, stat.indexOf('\n')).trim().split(/\s+/)
  return (Number(fields[4]) + Number(fields[5])) * NS_PER_TICK // idle, iowait
}

/** One reading of a {@link LoadMeter}. */
interface Reading {
  readonly at: number
  readonly idle: number
  readonly own: number
}

/** Measures what share of the machine went to processes other than ours. */
export class LoadMeter {
  readonly #processors: number
  readonly #pids: readonly number[]
  #last: Reading

  /**
   * @param processors how many the machine has
   * @param pids       what does not count as other: what is being measured
   */
  constructor(processors: number, pids: readonly number[]) {
    this.#processors = processors
    this.#pids = [process.pid, ...pids]
    this.#last = this.#read()
  }

  /** Other load since the last call, as a share of all processors, 0 to 1. */
  lap(): number {
    const before = this.#last
    const after = this.#read()
    this.#last = after
    const total = (after.at - before.at) * this.#processors
    const busy = total - (after.idle - before.idle)
    const other = busy - (after.own - before.own)
    return total > 0 ? Math.min(1, Math.max(0, other / total)) : 0
  }

  #read(): Reading {
    return {
      at: performance.now() * 1e6,
      idle: parseIdle(readFileSync('/proc/stat', 'utf8')),
      own: this.#pids.reduce((sum, pid) => sum + cpuTime(pid).ns, 0),
    }
  }
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
