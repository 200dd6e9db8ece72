/** Keeps a child process from outliving this one, however this one ends, SIGKILL included. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'

/**
 * Waits until the pipe from us closes, which the kernel does when we end. It has a session of its own, lest what kills
 * our process group kills it first. A line on the pipe calls it off.
 */
const WATCHDOG = 'if read -r done; then exit 0; fi; kill -KILL "$1"; rm -rf -- "$2"'

/** Becomes the program only when told to, so that it never runs unwatched; then standard input is the program's. */
const GATE = 'read -r go && exec "$@"'

export interface LeashOptions {
  readonly env?: Readonly<Record<string, string>>
  /** The program's own, removed when it has ended. */
  readonly directory: string
}

export interface Leashed {
  readonly child: ChildProcess & { readonly pid: number }
  /** Calls the watchdog off and removes the directory. To be called when the child has ended, before anything else. */
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
  const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', String(child.pid), directory], {
    stdio: ['pipe', 'ignore', 'ignore'],
    detached: true,
  })
  watchdog.stdin.on('error', () => {}) // somebody killed it
  watchdog.unref()
  await once(watchdog, 'spawn').catch((error: unknown) => {
    child.kill('SIGKILL')
    throw error
  })
  child.stdin.on('error', () => {}) // the program ended; its exit says so
  child.stdin.write('go\n')
  return {
    child: Object.assign(child, { pid: child.pid! }),
    release: async () => {
      const watching = watchdog.exitCode === null && watchdog.signalCode === null
      watchdog.ref()
      watchdog.stdin.end('done\n')
      if (watching) await once(watchdog, 'exit')
      await rm(directory, { recursive: true, force: true })
    },
  }
}
