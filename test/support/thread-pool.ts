/** The thread pool of libuv, kept busy: what is asked of it waits until the test lets it go on. */
import { read, writeSync } from 'node:fs'
import { Fds, makePipe } from './fds.ts'

/** Threads of the pool, unless UV_THREADPOOL_SIZE says otherwise. */
const THREADS = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4)

export class BusyThreadPool implements Disposable {
  readonly #fds = new Fds()
  readonly #writers: number[] = []
  readonly #ended: Promise<void>[] = []

  constructor() {
    for (let i = 0; i < THREADS; i++) {
      const [reader, writer] = makePipe()
      this.#fds.own(reader)
      this.#writers.push(this.#fds.own(writer))
      const wait = new Promise<void>((resolve) => {
        read(reader, new Uint8Array(1), 0, 1, null, () => resolve())
      })
      this.#ended.push(wait)
    }
  }

  /** The threads go on. Idempotent. */
  async release(): Promise<void> {
    for (const writer of this.#writers.splice(0)) writeSync(writer, 'x')
    await Promise.all(this.#ended)
  }

  [Symbol.dispose](): void {
    // a read that is still waiting gets its byte, and finds its fd closed or not: nobody asks
    for (const writer of this.#writers.splice(0)) writeSync(writer, 'x')
    this.#fds[Symbol.dispose]()
  }
}
