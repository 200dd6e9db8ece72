/** A directory that is gone when this process ends, however it ends: SIGKILL included. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** Waits until the pipe from us closes, which the kernel does when we end. */
const WATCHDOG = 'cat >/dev/null; rm -rf -- "$1"'

export class PrivateDirectory implements AsyncDisposable {
  readonly path: string
  readonly #release: () => Promise<void>

  private constructor(path: string, release: () => Promise<void>) {
    this.path = path
    this.#release = release
  }

  static async create(prefix: string): Promise<PrivateDirectory> {
    const path = await mkdtemp(join(tmpdir(), prefix)) // mode 0700
    const watchdog = spawn('/bin/sh', ['-c', WATCHDOG, 'watchdog', path], {
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true, // what kills our process group must not kill it first
    })
    try {
      await once(watchdog, 'spawn')
    } catch (error) {
      await rm(path, { recursive: true })
      throw error
    }
    watchdog.stdin.on('error', () => {}) // somebody killed it
    watchdog.unref()
    return new PrivateDirectory(path, async () => {
      const running = watchdog.exitCode === null && watchdog.signalCode === null
      watchdog.ref()
      watchdog.stdin.end()
      if (running) await once(watchdog, 'exit')
      await rm(path, { recursive: true, force: true })
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#release()
  }
}
