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
