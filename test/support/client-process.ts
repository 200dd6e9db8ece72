/** A client in a process of its own, as every VMM is one. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { Answer, Outcome } from './client-program.ts'

const PROGRAM = fileURLToPath(new URL('client-program.js', import.meta.url))

/** Attaches to devices and stays attached. It is killed when the `using` scope ends. */
export class ClientProcess implements AsyncDisposable {
  readonly #child: ChildProcess = fork(PROGRAM, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })

  #asked = 0

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** As who holds an mdev is told: what the kernel calls a program of Node depends on its version. */
  get who(): string {
    return `pid ${this.pid} (${readFileSync(`/proc/${this.pid}/comm`, 'utf8').trim()})`
  }

  /** @returns `attached`, or the errno of the refusal */
  async attach(socket: string): Promise<Outcome> {
    return this.#ask({ attach: socket })
  }

  async detach(socket: string): Promise<Outcome> {
    return this.#ask({ detach: socket })
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

  async #ask(request: object): Promise<Outcome> {
    const id = this.#asked++
    return new Promise((resolve) => {
      const onAnswer = (answer: Answer) => {
        if (answer.id !== id) return
        this.#child.off('message', onAnswer)
        resolve(answer.outcome)
      }
      this.#child.on('message', onAnswer)
      this.#child.send({ ...request, id })
    })
  }
}
