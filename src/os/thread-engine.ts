/** File requests on the thread pool of libuv: for where io_uring is forbidden. */
import { fdatasync, readv, writev } from 'node:fs'
import { errnoOf } from '../lib/errno.ts'
import { cFunction, cFunctionAsync, lastErrno } from './ffi.ts'
import { Actions, type FileEngine, type FileRequest, tellEnd } from './file-request.ts'
import { FileTurns } from './file-turns.ts'
import { QuickIo } from './quick-io.ts'

/** Most requests of one user that the pool is given: its threads, four as a rule, take them in the order of their coming. */
const MAX_EACH = 16

const fallocate = cFunction('fallocate', 'int', ['int', 'int', 'size', 'size'])
const fallocateAsync = cFunctionAsync('fallocate', 'int', ['int', 'int', 'size', 'size'])

export class ThreadEngine implements FileEngine {
  readonly name = 'threads'
  #queued: FileRequest[] = []
  readonly #quick = new QuickIo()
  readonly #turns = new FileTurns(Infinity, MAX_EACH)
  #ending = false
  readonly #afterBatch = new Actions()

  /** The thread pool keeps the process alive by itself. */
  hold(): void {}

  release(): void {}

  queue(request: FileRequest): void {
    this.#queued.push(request)
  }

  submit(): void {
    const requests = this.#queued
    this.#queued = []
    const isInner = this.#ending // what has ended has led to more
    if (!isInner) this.#quick.beginTurn()
    this.#ending = true
    for (const request of requests) {
      const result = isInner ? undefined : this.#quick.attempt(request)
      if (result !== undefined) tellEnd(request, result)
      else if (this.#turns.begin(request)) this.#begin(request)
    }
    this.#ending = isInner
    if (!isInner) this.#afterBatch.run()
  }

  afterBatch(action: () => void): void {
    this.#afterBatch.add(action)
    if (!this.#ending) this.#afterBatch.runSoon()
  }

  #begin(request: FileRequest): void {
    const { operation, fd, position, length, mode } = request
    const done = (error: Error | null, count = 0) =>
      this.#end(request, error === null ? count : -errnoOf(error))
    switch (operation) {
      case 'read':
        readv(fd, request.buffers(), position, done)
        return
      case 'write':
        writev(fd, request.buffers(), position, done)
        return
      case 'sync':
        fdatasync(fd, done)
        return
      case 'allocate':
        fallocateAsync([fd, mode, position, length], (_error, result) => {
          // the thread that was refused knows why, this one has to ask again
          const refused = result < 0 && fallocate(fd, mode, position, length) < 0
          this.#end(request, refused ? -lastErrno() : 0)
        })
    }
  }

  #end(request: FileRequest, result: number): void {
    this.#turns.end(request.user)
    const next = this.#turns.next()
    if (next !== undefined) this.#begin(next)
    this.#ending = true
    tellEnd(request, result)
    this.#ending = false
    this.#afterBatch.run()
  }
}
