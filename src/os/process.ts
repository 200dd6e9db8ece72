/** Other processes, by pid. */
import { readFileSync } from 'node:fs'

/** The name of a process as ps shows it, '?' when it has gone. */
export function processName(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim()
  } catch {
    return '?'
  }
}

/** How a line of /proc/<pid>/stat goes on behind the name: state, then 18 fields that do not matter, then the start time. */
const STAT = /^(\S) (?:\S+ ){18}(\d+)/

/**
 * Which process has a pid, in a text that no other has while the machine runs: pids are used again.
 *
 * @returns undefined when there is none, or it has ended and only its parent does not know yet
 */
export function processIdentity(pid: number): string | undefined {
  let stat: string
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  } catch {
    return undefined
  }
  const [, state = '', started] = STAT.exec(stat.slice(stat.lastIndexOf(')') + 2)) ?? []
  return started === undefined || 'ZX'.includes(state) ? undefined : `${pid}@${started}`
}

/** Whether the process is still there that {@link processIdentity} once named. Any other text counts as one that is. */
export function isRunning(identity: string): boolean {
  const pid = Number.parseInt(identity, 10)
  return Number.isNaN(pid) || processIdentity(pid) === identity
}
