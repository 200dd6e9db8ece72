/** A test tree, mounted and served by a process of its own, and shells that use it. */
import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { mountsAt } from '../../src/os/mount.ts'
import { type Ended, ended, start } from '../support/child.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'

const PROGRAM = fileURLToPath(new URL('./mount-program.js', import.meta.url))

/** A place to mount at, free of mounts when the `using` scope ends. */
export class Place implements Disposable {
  readonly #scratch = new Scratch()
  readonly path = `${this.#scratch.path}/mount point`

  constructor() {
    chmodSync(this.#scratch.path, 0o755) // other users come as far as the mount
  }

  get mounts(): string[] {
    return mountsAt(this.path)
  }

  [Symbol.dispose](): void {
    // by force: who waits for a server that cannot answer is let go
    for (const _ of this.mounts) execFileSync('umount', ['-f', '-l', this.path])
    this.#scratch[Symbol.dispose]()
  }
}

export class Mounted implements AsyncDisposable {
  readonly path: string
  readonly child: ChildProcess
  /** What it says on standard error. */
  log = ''
  /** What goes before a command that is to see the mount. */
  prefix: readonly string[] = []
  readonly #answers: AsyncIterator<string>

  private constructor(path: string, child: ChildProcess) {
    this.path = path
    this.child = child
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.log += text))
    const kill = () => child.kill('SIGKILL')
    process.once('exit', kill)
    child.once('exit', () => process.off('exit', kill))
    this.#answers = createInterface({ input: child.stdout! })[Symbol.asyncIterator]()
  }

  /** @param wrap makes the command line, such as one for another user */
  static async at(
    path: string,
    wrap: (command: string[]) => string[] = (command) => command,
  ): Promise<Mounted> {
    const [command = '', ...args] = wrap([process.execPath, '--enable-source-maps', PROGRAM, path])
    const mounted = new Mounted(path, spawn(command, args, { stdio: 'pipe' }))
    const said = await mounted.#answer()
    if (said === 'ready') return mounted
    await mounted.end()
    throw new Error(said)
  }

  /** @returns what mount-program.ts answers */
  async ask<T = unknown>(command: string): Promise<T> {
    this.child.stdin?.write(`${command}\n`)
    return JSON.parse(await this.#answer()) as T
  }

  /** Asks again and again until the answer is as wanted: each time, the process has gone on. */
  async until<T>(command: string, isWanted: (answer: T) => boolean): Promise<T> {
    return until(async () => {
      const answer = await this.ask<T>(command)
      assert.ok(isWanted(answer), `${command}: ${JSON.stringify(answer)}`)
      return answer
    })
  }

  /** Resolves when it has said so on standard error. @throws it has ended before */
  async logged(pattern: RegExp): Promise<void> {
    const { stderr } = this.child
    while (!pattern.test(this.log)) {
      if (stderr === null || stderr.readableEnded) throw new Error(`no ${pattern} in ${this.log}`)
      await Promise.race([once(stderr, 'data'), once(stderr, 'end')])
    }
  }

  /** Runs a script of the shell with `$M` for the place. */
  async shell(script: string): Promise<Ended> {
    return ended(this.begin(script))
  }

  /** What a script says, both outputs in one. */
  async says(script: string): Promise<string> {
    const { stdout } = await this.shell(`exec 2>&1; ${script}`)
    return stdout
  }

  begin(script: string): ChildProcess {
    const bash = ['bash', '-c', `export LC_ALL=C; M='${this.path}'; ${script}`]
    const [command = '', ...args] = [...this.prefix, ...bash]
    return start(command, args)
  }

  async end(signal: NodeJS.Signals = 'SIGKILL'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return
    this.child.kill(signal)
    await once(this.child, 'exit')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end()
  }

  async #answer(): Promise<string> {
    const { value, done } = await this.#answers.next()
    return done === true ? `it has ended: ${this.log}` : value
  }
}

/** One for the tests of a file, at a place of its own. */
export async function mountForTests(): Promise<{ mounted: Mounted; release: () => Promise<void> }> {
  const place = new Place()
  const mounted = await Mounted.at(place.path)
  return {
    mounted,
    async release() {
      await mounted.end()
      place[Symbol.dispose]()
    },
  }
}
