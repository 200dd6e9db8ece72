/**
 * Bytes moved between a file and client memory, with no copy in between where the memory is mapped here.
 *
 * On the thread pool or at once: the steps are the same, and are told apart by who takes them.
 */
import { readv, readvSync, writev, writevSync } from 'node:fs'
import { ErrnoError } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import type { Part } from './access.ts'
import type { DirtyLog } from './dirty-log.ts'
import type { CopiedMemory, Done } from './memory.ts'

/** Most buffers of one call (IOV_MAX). */
const MAX_BUFFERS = 1024
/** Most bytes of one buffer: libuv counts in 32 bits. */
const MAX_BUFFER = 2 ** 30
/** Bytes of the buffer by which memory that is not mapped here is reached. */
const BOUNCE = 2 ** 20

/** Into client memory, or out of it. */
export type Direction = 'from-file' | 'to-file'

export interface TransferOptions {
  readonly direction: Direction
  /** All of what is moved, in order; the rights have been checked. */
  readonly parts: readonly Part[]
  /** Stays the caller's, and open until the end. */
  readonly fd: number
  /** In the file, bytes. */
  readonly position: number
  readonly dirtyLog: DirtyLog
}

/** One call of the kernel, which is answered with how many bytes it moved; or the client is waited for. */
type Step = { readonly buffers: readonly Uint8Array[]; readonly position: number } | Promise<void>

/**
 * Moves on the thread pool. Until it has ended no map that it uses goes.
 *
 * @returns bytes moved: fewer where the file ends
 * @throws EINVAL bad position · what reading or writing the file says; some may have been moved then
 */
export async function transfer(options: TransferOptions): Promise<number> {
  using _ = new Use(options)
  const { fd } = options
  const call = options.direction === 'from-file' ? readv : writev
  const steps = stepsOf(options)
  let step = steps.next()
  while (step.done !== true) {
    const { value } = step
    if (value instanceof Promise) {
      await value
      step = steps.next(0)
    } else {
      const count = await new Promise<number>((resolve, reject) => {
        call(fd, value.buffers, value.position, (error, count) => {
          if (error === null) resolve(count)
          else reject(error)
        })
      })
      step = steps.next(count)
    }
  }
  return step.value
}

/** The same at once. @throws EOPNOTSUPP memory that the client has to be asked for · and as {@link transfer} */
export function transferSync(options: TransferOptions): number {
  const remote = options.parts.find(({ entry }) => entry.file === undefined)
  if (remote !== undefined) {
    throw new ErrnoError(
      'EOPNOTSUPP',
      `dma at ${hex(remote.iova)}: this memory came without a file, and cannot be reached at once`,
    )
  }
  using _ = new Use(options)
  const { fd } = options
  const call = options.direction === 'from-file' ? readvSync : writevSync
  const steps = stepsOf(options)
  let step = steps.next()
  while (step.done !== true) {
    const { value } = step
    step = steps.next(value instanceof Promise ? 0 : call(fd, value.buffers, value.position))
  }
  return step.value
}

/** What a transfer keeps from going while it lasts, and counts as written. */
class Use implements Disposable {
  readonly #parts: readonly Part[]
  readonly #dirtyLog: DirtyLog | undefined

  constructor({ parts, direction, position, dirtyLog }: TransferOptions) {
    if (!Number.isSafeInteger(position) || position < 0)
      throw new ErrnoError('EINVAL', `dma file transfer at ${position}: no position in a file`)
    this.#parts = parts.filter(({ entry }) => entry.file !== undefined)
    this.#dirtyLog = direction === 'from-file' ? dirtyLog : undefined
    for (const { entry, iova, length } of this.#parts) {
      entry.beginUse()
      this.#dirtyLog?.hold(iova, length)
    }
  }

  [Symbol.dispose](): void {
    for (const { entry, iova, length } of this.#parts) {
      if (!entry.closed) this.#dirtyLog?.release(iova, length)
      entry.endUse()
    }
  }
}

/** What is moved in one go: memory that is mapped here, or else goes through a buffer. */
interface Run {
  readonly length: number
  /** Bytes in it from `at` on, as buffers; nothing is in them yet. */
  buffers(at: number): readonly Uint8Array[]
  /** Before `buffers` are written to the file, and after they were read from it. */
  fetch?(at: number): Done
  store?(at: number, count: number): Done
}

function* stepsOf({
  parts,
  direction,
  position,
}: TransferOptions): Generator<Step, number, number> {
  let done = 0
  for (const run of runsOf(parts)) {
    for (let at = 0; at < run.length;) {
      const fetched = direction === 'to-file' ? run.fetch?.(at) : undefined
      if (fetched !== undefined) yield fetched
      const count = yield { buffers: run.buffers(at), position: position + done }
      if (count === 0) return done // the file has ended
      const stored = direction === 'from-file' ? run.store?.(at, count) : undefined
      if (stored !== undefined) yield stored
      at += count
      done += count
    }
  }
  return done
}

function runsOf(parts: readonly Part[]): Run[] {
  const runs: Run[] = []
  let mapped: Uint8Array[] | undefined
  for (const part of parts) {
    const { memory } = part.entry
    if (!memory.mapped) {
      runs.push(new BouncedRun(part, memory))
      mapped = undefined
      continue
    }
    if (mapped === undefined || mapped.length >= MAX_BUFFERS) {
      mapped = []
      runs.push(new MappedRun(mapped))
    }
    const end = part.iova + part.length
    for (let at = part.iova; at < end;) {
      const span = memory.spanAt(at)
      const length = Math.min(MAX_BUFFER, end - at, span.end - at)
      mapped.push(span.bytes.subarray(at - span.base, at - span.base + length))
      at += length
    }
  }
  return runs
}

class MappedRun implements Run {
  readonly #buffers: readonly Uint8Array[]

  constructor(buffers: readonly Uint8Array[]) {
    this.#buffers = buffers
  }

  get length(): number {
    return this.#buffers.reduce((sum, { length }) => sum + length, 0)
  }

  buffers(at: number): readonly Uint8Array[] {
    let skip = at
    let first = 0
    while (skip > 0 && skip >= (this.#buffers[first]?.length ?? Infinity)) {
      skip -= this.#buffers[first]!.length
      first++
    }
    const rest = this.#buffers.slice(first, first + MAX_BUFFERS)
    if (skip > 0) rest[0] = rest[0]!.subarray(skip)
    return rest
  }
}

class BouncedRun implements Run {
  readonly length: number
  readonly #part: Part
  readonly #memory: CopiedMemory
  readonly #bounce: Uint8Array

  constructor(part: Part, memory: CopiedMemory) {
    this.length = part.length
    this.#part = part
    this.#memory = memory
    this.#bounce = new Uint8Array(Math.min(BOUNCE, part.length))
  }

  buffers(at: number): readonly Uint8Array[] {
    return [this.#bounce.subarray(0, this.length - at)]
  }

  fetch(at: number): Done {
    return this.#memory.read(this.#offset(at), this.#bounce.subarray(0, this.length - at))
  }

  store(at: number, count: number): Done {
    return this.#memory.write(this.#offset(at), this.#bounce.subarray(0, count))
  }

  /** @throws EFAULT memory that only the client reaches, and that it has unmapped meanwhile */
  #offset(at: number): number {
    const { entry, iova } = this.#part
    if (entry.closed)
      throw new ErrnoError('EFAULT', `dma at ${hex(iova + at)}: not mapped any more`)
    return iova + at - entry.iova
  }
}
