/** An mdev served by `mdevkit run`, in a process of its own: whatever its driver does, we go on. */
import { once } from 'node:events'
import { readdirSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { ErrnoError } from '../src/lib/errno.ts'
import { LOCK } from '../src/host/lock-files.ts'
import { type Leashed, spawnLeashed, stopLeashed } from '../vm/leash.ts'
import { PrivateDirectory } from '../vm/private-directory.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/mdevkit.js', import.meta.url))

/** A driver may take 10 s to close what it has opened. */
const TERM_MS = 15_000
/** When it is time to say what we wait for. */
const LONG_MS = 3000

/** How what `mdevkit run --json` prints begins. */
const REPORT = '{"uuid":'

/** Of that. */
interface Report {
  readonly type: string
  readonly socket: string
}

export interface ServeOptions {
  readonly driver: string
  /** Of `mdevkit run`. */
  readonly options: readonly string[]
  readonly signal: AbortSignal
  /** Told what `mdevkit run` and the driver say. */
  readonly onSaid: (text: string) => void
}

/** `mdevkit run` has refused, and said why. */
export class RunRefused extends Error {
  readonly exitCode: number

  constructor(exitCode: number) {
    super('mdevkit run has refused')
    this.exitCode = exitCode
  }
}

export class ServedMdev implements AsyncDisposable {
  readonly type: string
  /** Where a client connects. */
  readonly socket: string
  /** Resolves with why, when it is served no more. */
  readonly ended: Promise<ErrnoError>
  readonly #leashed: Leashed
  readonly #exited: Promise<unknown>
  readonly #say: (text: string) => void

  private constructor(
    report: Report,
    leashed: Leashed,
    exited: Promise<string>,
    say: (text: string) => void,
  ) {
    this.#say = say
    this.type = report.type
    this.socket = report.socket
    this.#leashed = leashed
    this.#exited = exited
    this.ended = exited.then((how) => new ErrnoError('EPIPE', `mdevkit run ended with ${how}`))
  }

  /** @throws RunRefused · what keeps it from being started */
  static async serve({ driver, options, signal, onSaid }: ServeOptions): Promise<ServedMdev> {
    const directory = await PrivateDirectory.create('mdevkit-run-')
    const root = ['--json', '--root', directory.path]
    const argv = [process.execPath, PROGRAM, 'run', ...options, ...root, '--', driver]
    const leashed = await spawnLeashed(argv, { directory })
    const { child } = leashed
    child.stderr!.setEncoding('utf8').on('data', onSaid)
    const exited = once(child, 'exit').then(async ([code, name]: unknown[]) => {
      await leashed.release()
      return name === null ? `status ${String(code)}` : (name as string)
    })
    const stop = () => void stopLeashed(leashed, exited, TERM_MS)
    signal.addEventListener('abort', stop, { once: true })
    if (signal.aborted) stop()
    const report = await reportOf(leashed, onSaid)
    signal.removeEventListener('abort', stop) // from now on in order: after the guest
    if (report !== undefined) return new ServedMdev(report, leashed, exited, onSaid)
    await exited
    signal.throwIfAborted()
    throw new RunRefused(child.exitCode ?? 1)
  }

  /** What the driver has put beside the socket, such as links to terminals: where each leads. */
  get places(): readonly (readonly [name: string, path: string])[] {
    const directory = dirname(this.socket)
    return readdirSync(directory)
      .filter((name) => name !== 'cntrl' && !name.startsWith('.') && name !== LOCK)
      .map((name) => [name, realpathSync(join(directory, name))])
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const timer = setTimeout(
      () => this.#say(`waiting for the driver to end; after ${TERM_MS / 1000} s it is killed\n`),
      LONG_MS,
    )
    await stopLeashed(this.#leashed, this.#exited, TERM_MS)
    clearTimeout(timer)
  }
}

/** What it prints once it serves; undefined if it ends before. All else there is the driver's own, and said. */
async function reportOf(
  { child }: Leashed,
  onSaid: (text: string) => void,
): Promise<Report | undefined> {
  return new Promise((resolve) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      if (line.startsWith(REPORT)) resolve(JSON.parse(line) as Report)
      else onSaid(`${line}\n`)
    })
    child.once('close', () => resolve(undefined))
  })
}
