/** Programs that may lock only so much memory. */
import { execFileSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { start } from './child.ts'

/** `command` with this soft RLIMIT_MEMLOCK, and without CAP_IPC_LOCK. Takes prlimit and setpriv, of util-linux. */
export function limitedCommand(bytes: number, command: readonly string[]): string[] {
  const setpriv = ['setpriv', '--bounding-set=-ipc_lock', '--inh-caps=-ipc_lock']
  return [
    'prlimit',
    `--memlock=${bytes}:`,
    ...(process.getuid?.() === 0 ? setpriv : []),
    ...command,
  ]
}

export function setLockLimit(pid: number, bytes: number): void {
  execFileSync('prlimit', [`--pid=${pid}`, `--memlock=${bytes}:`])
}

/** A process of its own that locks memory when it is told to, in the place of a client. */
export class LockingProcess implements AsyncDisposable {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** @param wrap makes the command line */
  static async start(wrap: (command: string[]) => string[] = (command) => command) {
    const program = fileURLToPath(new URL('./locking-program.js', import.meta.url))
    const [command = '', ...args] = wrap([process.execPath, program])
    const started = new LockingProcess(start(command, args))
    await started.#answer()
    return started
  }

  /** One that may lock so many bytes. */
  static limited(bytes: number): Promise<LockingProcess> {
    return LockingProcess.start((command) => limitedCommand(bytes, command))
  }

  get pid(): number {
    return this.#child.pid ?? -1
  }

  async lock(bytes: number): Promise<void> {
    this.#child.stdin?.write(`${bytes}\n`)
    await this.#answer()
  }

  async end(): Promise<void> {
    this.#child.stdin?.end()
    if (this.#child.exitCode === null) await once(this.#child, 'close')
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.end()
  }

  async #answer(): Promise<void> {
    const { stdout } = this.#child
    if (stdout === null) throw new Error('no output')
    const [line] = (await Promise.race([once(stdout, 'data'), once(this.#child, 'close')])) as [
      unknown,
    ]
    if (!String(line).startsWith('done'))
      throw new Error(`locking-program: ${String(line)}; is util-linux installed?`)
  }
}
