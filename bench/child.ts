/** A child process that is pinned to processors and talks in lines of JSON. */
import { type ChildProcessByStdio, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable, Writable } from 'node:stream'
import { ErrnoError } from '../src/lib/errno.ts'
import { pinned } from './pinning.ts'

const KILL_AFTER_MS = 2000

/** A running child. Its standard error is ours. */
export class Child implements AsyncDisposable {
  readonly #process: ChildProcessByStdio<Writable, Readable, null>
  readonly #lines: AsyncIterator<string>
  readonly #name: string
  readonly #ended: Promise<string>

  /**
   * @param name       for messages
   * @param processors where all its threads run
   * @throws ENOENT no taskset
   */
  static async start(
    name: string,
    processors: number | readonly number[],
    command: readonly string[],
  ): Promise<Child> {
    const [program, ...args] = pinned(processors, command)
    const child = spawn(program!, args, { stdio: ['pipe', 'pipe', 'inherit'] })
    try {
      await once(child, 'spawn')
    } catch (cause) {
      throw new ErrnoError('ENOENT', `${program}: cannot start it; install util-linux`, { cause })
    }
    return new Child(name, child)
  }

  private constructor(name: string, child: ChildProcessByStdio<Writable, Readable, null>) {
    this.#name = name
    this.#process = child
    this.#lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
    this.#ended = new Promise((resolve) => {
      child.once('exit', (code, signal) => resolve(signal ?? `exit code ${code}`))
    })
    child.stdin.on('error', () => {}) // it ended before we wrote: seen by whoever reads its next line
  }

  /** taskset becomes what it starts, so this is that program's own process id. */
  get pid(): number {
    return this.#process.pid!
  }

  /** The next line that the child prints, parsed. @throws EIO it ended instead */
  async next<T>(): Promise<T> {
    const line = await this.#lines.next()
    if (line.done) throw new ErrnoError('EIO', `${this.#name} ended early: ${await this.#ended}`)
    return JSON.parse(line.value) as T
  }

  /** Sends one line. */
  send(line: string): void {
    this.#process.stdin.write(`${line}\n`)
  }

  /** Closes the child's input and waits until it has ended. */
  async end(): Promise<void> {
    this.#process.stdin.end()
    await this.#ended
  }

  /** Ends the child: asked by SIGTERM, then made by SIGKILL. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.stdin.end()
    this.#process.kill('SIGTERM')
    const impatient = setTimeout(() => this.#process.kill('SIGKILL'), KILL_AFTER_MS)
    await this.#ended
    clearTimeout(impatient)
  }
}
