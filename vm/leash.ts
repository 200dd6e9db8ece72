/** Keeps a child process from outliving this one, however this one ends, SIGKILL included. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import type { PrivateDirectory } from './private-directory.ts'

/** Becomes the program only when told to, so that it never runs unwatched; then standard input is the program's. */
const GATE = 'read -r go && exec "$@"'

export interface LeashOptions {
  readonly env?: Readonly<Record<string, string>>
  /** The program's own, one program's at a time. */
  readonly directory: PrivateDirectory
}

export interface Leashed {
  readonly child: ChildProcess & { readonly pid: number }
  /** Removes the directory. To be called when the child has ended, before anything else. */
  release(): Promise<void>
}

/** Starts a program, its standard files being pipes, that is killed when this process ends. */
export async function spawnLeashed(
  argv: readonly string[],
  { env, directory }: LeashOptions,
): Promise<Leashed> {
  const child = spawn('/bin/sh', ['-c', GATE, 'gate', ...argv], {
    env: { ...process.env, ...env },
    stdio: 'pipe',
    detached: true, // a Ctrl-C on our terminal is ours to handle
  })
  await once(child, 'spawn')
  await directory.killWithUs(child.pid)
  child.stdin.on('error', () => {}) // the program ended; its exit says so
  child.stdin.write('go\n')
  return {
    child: Object.assign(child, { pid: child.pid! }),
    release: async () => {
      await directory.killWithUs(undefined) // its number may be another's from now on
      await directory[Symbol.asyncDispose]()
    },
  }
}

/**
 * Ends a program, at first politely.
 *
 * @param exited     resolves when nothing is left of it
 * @param patienceMs how long it may take to end by itself
 */
export async function stopLeashed(
  { child }: Leashed,
  exited: Promise<unknown>,
  patienceMs: number,
): Promise<void> {
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), patienceMs)
  await exited
  clearTimeout(timer)
}
