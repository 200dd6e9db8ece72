/** The processes of a run-time root: daemon and hosts, whoever started them. */
import { readdirSync, readFileSync } from 'node:fs'

/** Their pids, found by their environment; those that have ended and wait to be reaped are not among them. */
export function processesOf(root: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => environmentOf(pid).includes(`MDEVKIT_ROOT=${root}`))
    .map(Number)
}

/** Resolves when all of them have ended, as each of them is killed. */
export async function killAllOf(root: string): Promise<void> {
  for (let pids = processesOf(root); pids.length > 0; pids = processesOf(root)) {
    for (const pid of pids) kill(pid)
    while (pids.some((pid) => !hasEnded(pid)))
      await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/** Whether all that it had open is closed, too: its memory goes first, and with it its environment. */
function hasEnded(pid: number): boolean {
  try {
    return /^State:\t[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'))
  } catch {
    return true
  }
}

/** Kills a process, if it is there. */
export function kill(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
  }
}

function environmentOf(pid: string): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0')
  } catch {
    return [] // it has ended
  }
}
