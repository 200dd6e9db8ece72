/** Reads and writes that a file has not yet answered, so that they can be interrupted, and are not too many. */
import { ErrnoError } from '../lib/errno.ts'
import type { TreeCall } from '../lib/tree.ts'

/** Most of them at a time: each holds a process of somebody's in read(2) or write(2), and some memory of ours. */
export const MAX_PENDING_CALLS = 4096

/** Who asks, and a signal that costs nothing unless it is looked at. */
export class Call implements TreeCall {
  readonly uid: number
  readonly gid: number
  readonly pid: number
  #controller: AbortController | undefined

  constructor({ uid, gid, pid }: { uid: number; gid: number; pid: number }) {
    this.uid = uid
    this.gid = gid
    this.pid = pid
  }

  get signal(): AbortSignal {
    return (this.#controller ??= new AbortController()).signal
  }

  abort(reason: Error): void {
    this.#controller?.abort(reason)
  }
}

interface Pending {
  readonly call: Call
  readonly refuse: (error: unknown) => void
}

export class PendingCalls {
  readonly #calls = new Map<number, Pending>()

  get size(): number {
    return this.#calls.size
  }

  /**
   * Waits for a call; whatever comes first, its end or its interruption, is told, and nothing after that.
   *
   * @throws EBUSY too many are waited for; the call is aborted
   */
  wait<T>(
    unique: number,
    call: Call,
    outcome: Promise<T>,
    tell: { readonly done: (value: T) => void; readonly refused: (error: unknown) => void },
  ): void {
    if (this.#calls.size >= MAX_PENDING_CALLS) {
      outcome.catch(() => {}) // nobody is left to hear of it
      const error = new ErrnoError('EBUSY', `${MAX_PENDING_CALLS} calls are under way already`)
      call.abort(error)
      throw error
    }
    const pending: Pending = { call, refuse: tell.refused }
    this.#calls.set(unique, pending)
    const isFirst = () => this.#calls.get(unique) === pending && this.#calls.delete(unique)
    outcome.then(
      (value) => {
        if (isFirst()) tell.done(value)
      },
      (error: unknown) => {
        if (isFirst()) tell.refused(error)
      },
    )
  }

  /** The caller was sent a signal. Nothing happens where the call has ended. */
  interrupt(unique: number): void {
    const pending = this.#calls.get(unique)
    if (pending === undefined) return
    this.#calls.delete(unique)
    const error = new ErrnoError('EINTR', 'interrupted')
    pending.call.abort(error)
    pending.refuse(error)
  }

  /** Nobody waits any more. */
  interruptAll(): void {
    for (const unique of this.#calls.keys()) this.interrupt(unique)
  }
}
