/** Programs that tests run in a process of their own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { text } from 'node:stream/consumers'

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

/** What a program that hangs is killed after, so that the test fails rather than waits. */
const PATIENCE_MS = 60_000

/** Starts a program; it ends with this process at the latest. */
export function start(command: string, args: readonly string[]): ChildProcess {
  const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe', 'pipe'] })
  const kill = () => child.kill('SIGKILL')
  const timer = setTimeout(kill, PATIENCE_MS)
  process.once('exit', kill)
  child.once('close', () => {
    clearTimeout(timer)
    process.off('exit', kill)
  })
  return child
}

/** Waits for the end of a program, and says how it ended and what it wrote. */
export async function ended(child: ChildProcess): Promise<Ended> {
  const [stdout, stderr] = await Promise.all([
    child.stdout === null ? '' : text(child.stdout),
    child.stderr === null ? '' : text(child.stderr),
    child.exitCode === null && child.signalCode === null ? once(child, 'close') : undefined,
  ])
  return { code: child.exitCode, signal: child.signalCode, stdout, stderr }
}
