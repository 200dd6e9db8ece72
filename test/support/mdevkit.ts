/** The command line as people run it: `bin/mdevkit.js` in a process of its own, with a run-time root of its own. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Transcript } from './transcript.ts'

/** Of the project, seen from `dist/test/support`. */
export const PROJECT = fileURLToPath(new URL('../../..', import.meta.url))

const PROGRAM = `${PROJECT}bin/mdevkit.js`

/** What `mdevkit run --json` prints. */
export interface Report {
  readonly uuid: string
  readonly parent: string
  readonly type: string
  readonly group: number
  readonly socket: string
  readonly qemu: readonly string[]
  readonly cloudHypervisor: readonly string[]
}

export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  /** The run-time root. */
  readonly root: string
  readonly cwd?: string
  /** Another `bin/mdevkit.js` than that of the project. */
  readonly program?: string
  /** Added to the environment. */
  readonly env?: Readonly<Record<string, string>>
}

/** A run of `mdevkit`, killed at the end of the `using` scope if it has not ended. */
export class Mdevkit implements AsyncDisposable {
  readonly pid: number
  readonly stdout: Transcript
  readonly stderr: Transcript
  /** Resolves when it has ended and said all it had to say. */
  readonly ended: Promise<Ended>
  readonly #child: ChildProcess

  private constructor(child: ChildProcess & { readonly pid: number }, name: string) {
    this.#child = child
    this.pid = child.pid
    this.stdout = new Transcript(`${name}, standard output`)
    this.stderr = new Transcript(`${name}, standard error`)
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]?.setEncoding('utf8').on('data', (text: string) => this[stream].push(text))
    }
    this.ended = once(child, 'close').then(([code, signal]: unknown[]) => {
      const reason = `it ended with ${String(signal ?? code)}; it said: ${this.stderr.text}`
      this.stdout.end(reason)
      this.stderr.end(reason)
      return {
        code: code as number | null,
        signal: signal as string | null,
        stdout: this.stdout.text,
        stderr: this.stderr.text,
      }
    })
  }

  static async start(
    args: readonly string[],
    { root, cwd, program = PROGRAM, env: own = {} }: RunOptions,
  ): Promise<Mdevkit> {
    const env = { ...process.env, MDEVKIT_ROOT: root, ...own }
    const child = spawn(process.execPath, [program, ...args], {
      cwd,
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    await once(child, 'spawn')
    return new Mdevkit(Object.assign(child, { pid: child.pid! }), `mdevkit ${args.join(' ')}`)
  }

  /** The object that `run --json` prints once it serves. */
  async report(): Promise<Report> {
    const [line] = await this.stdout.waitFor(/^.*\n/)
    return JSON.parse(line) as Report
  }

  /** As the reader of a pipe that ends. */
  closeStdout(): void {
    this.#child.stdout?.destroy()
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Ended> {
    this.#child.kill(signal)
    return this.ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop('SIGKILL')
  }
}

/** `mdevkit run … --json` and what it printed. */
export interface Serving extends AsyncDisposable {
  readonly host: Mdevkit
  readonly report: Report
}

/** Resolves when `mdevkit run ARGS --json` serves its mdev. It is killed at the end of the `using` scope. */
export async function serve(
  args: readonly string[],
  options: { readonly root: string },
): Promise<Serving> {
  const host = await Mdevkit.start(['run', ...args, '--json'], options)
  try {
    const report = await host.report()
    return { host, report, [Symbol.asyncDispose]: async () => host[Symbol.asyncDispose]() }
  } catch (error) {
    await host.stop('SIGKILL')
    throw error
  }
}

/** Everything that is in a run-time root, but for the directories that are always there. */
export function leftIn(root: string): string[] {
  if (!existsSync(root)) return []
  return readdirSync(root, { recursive: true, encoding: 'utf8' })
    .filter((path) => !['devices', 'groups', 'hosts'].includes(path))
    .toSorted()
}
