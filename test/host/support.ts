/** What hosts are tested with: other processes that claim things, and what is in a directory. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Answer, Request } from './claims-program.ts'

export const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'
export const OTHER_UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1002'
/** The user `nobody`, on Debian as in the kernel's default. */
export const NOBODY = 65_534

const PROGRAM = fileURLToPath(new URL('claims-program.js', import.meta.url))

/** A process that claims things. It is killed when the `using` scope ends. */
export class ClaimingProcess implements AsyncDisposable {
  readonly #child: ChildProcess = fork(PROGRAM, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** What came of it. @throws when the process ends instead of answering */
  async ask(request: Request): Promise<Answer> {
    const ended = new AbortController()
    const onExit = () => ended.abort(new Error('the process has ended'))
    this.#child.once('exit', onExit)
    try {
      const answer = once(this.#child, 'message', { signal: ended.signal })
      this.#child.send(request)
      return (await answer)[0] as Answer
    } finally {
      this.#child.off('exit', onExit)
    }
  }

  /** Ends it as a crash would; resolves when it is gone. */
  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await gone
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.kill()
  }
}

/** All names below a directory, sorted. */
export function namesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).toSorted()
}
