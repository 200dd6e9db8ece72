/** A directory that is gone when this process ends, however it ends, SIGKILL included; and with it a child of ours. */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ErrnoError } from '../src/lib/errno.ts'

/**
 * Makes the directory itself, lest we be killed after we made it and before anybody watches. Then it waits until the
 * pipe from us closes, which the kernel does when we end. Meanwhile each line is the process to kill first, or none.
 * A process on its way out may still be making a file, which one more `rm` finds.
 */
const WATCHDOG = `
umask 077; mkdir -- "$1" && echo made || exit
exec >/dev/null 2>&1
pid=; while read -r pid; do child=$pid; done
[ -z "$child" ] || kill -KILL "$child"
rm -rf -- "$1" || { sleep 1; rm -rf -- "$1"; }`

export class PrivateDirectory implements AsyncDisposable {
  /** Its mode is 0700. */
  readonly path: string
  readonly #watchdog: ChildProcess

  private constructor(path: string, watchdog: ChildProcess) {
    this.path = path
    this.#watchdog = watchdog
  }

  /** @throws EIO it cannot be made, the reason in the message */
  static async create(prefix: string): Promise<PrivateDirectory> {
    const path = join(tmpdir(), `${prefix}${randomUUID().slice(0, 8)}`)
    const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', path], {
      stdio: ['pipe', 'pipe', 'pipe'],
      detached: true, // what kills our process group must not kill it first
    })
    watchdog.stdin.on('error', () => {}) // somebody killed it
    let said = ''
    watchdog.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    const made = await Promise.race([
      once(watchdog.stdout, 'data').then(() => true),
      once(watchdog, 'close').then(() => false), // and rejects when it cannot even be started
    ])
    if (!made) throw new ErrnoError('EIO', `${path}: ${said.trim()}`)
    watchdog.stdout.destroy()
    watchdog.stderr.destroy()
    watchdog.unref()
    return new PrivateDirectory(path, watchdog)
  }

  /** When it resolves, this process is killed, too, when ours ends; undefined: none is. */
  async killWithUs(pid: number | undefined): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#watchdog.stdin!.write(`${pid ?? ''}\n`, () => resolve()) // an error: somebody killed it
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const watchdog = this.#watchdog
    const running = watchdog.exitCode === null && watchdog.signalCode === null
    watchdog.ref()
    watchdog.stdin!.end()
    if (running) await once(watchdog, 'exit')
    await rm(this.path, { recursive: true, force: true })
  }
}
