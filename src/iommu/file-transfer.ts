/**
 * Bytes moved between any fd and client memory, up to where the file ends, with no copy in between where the memory is mapped here.
 *
 * On the thread pool or at once: the steps are the same, and are told apart by who takes them. What a disk needs, many transfers
 * at a time that move all or fail, is `file-io.ts`; memory becomes requests there and here in one way.
 */
import { readvSync, writevSync } from 'node:fs'
import { ErrnoError, errnoCode } from '../lib/errno.ts'
import { hex } from '../lib/format.ts'
import { blockOf } from '../os/async-file.ts'
import { fileEngine } from '../os/file-engine.ts'
import { FileRequest } from '../os/file-request.ts'
import type { FileUser } from '../os/file-turns.ts'
import type { Part } from './access.ts'
import type { DirtyLog } from './dirty-log.ts'
import type { CopiedMemory } from './memory.ts'

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
  /** Whose turn it takes. */
  readonly user: FileUser
}

/** What the kernel is asked, which is answered with how many bytes it moved; or the client is waited for. */
type Step = FileRequest | Promise<void>

/**
 * Moves on the thread pool. Until it has ended no map that it uses goes.
 *
 * @returns bytes moved: fewer where the file ends
 * @throws EINVAL bad position · what reading or writing the file says; some may have been moved then
 */
export async function transfer(options: TransferOptions): Promise<number> {
  using _ = new Use(options)
  const steps = stepsOf(options)
  let step = steps.next()
  while (step.done !== true) {
    const { value } = step
    if (value instanceof FileRequest) step = steps.next(await ended(value))
    else {
      await value
      step = steps.next(0)
    }
  }
  return step.value
}

/** Has the thread pool carry out a request. @returns bytes moved @throws what the file says */
async function ended(request: FileRequest): Promise<number> {
  const engine = fileEngine('threads')
  const result = await new Promise<number>((resolve) => {
    request.done = resolve
    engine.queue(request)
    engine.submit()
  })
  if (result >= 0) return result
  const what = `${request.operation} at ${hex(request.position)} of fd ${request.fd}`
  throw new ErrnoError(errnoCode(-result), `dma file transfer: ${what}`)
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
    const isRequest = value instanceof FileRequest
    step = steps.next(isRequest ? call(fd, value.buffers(), value.position) : 0)
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

/** All steps of a transfer. @returns bytes moved */
function* stepsOf(options: TransferOptions): Generator<Step, number, number> {
  const { parts, direction, fd, position, user } = options
  const request = new FileRequest()
  const begin = (at: number): FileRequest => {
    const operation = direction === 'from-file' ? 'read' : 'write'
    request.start(operation, fd, position + at, () => {})
    request.user = user
    return request
  }
  let done = 0
  for (let next = 0; next < parts.length;) {
    const part = parts[next]!
    const { memory } = part.entry
    const start = done
    if (memory.mapped) {
      next = addMapped(begin(start), parts, next)
      const { length } = request
      done += yield* moveAll(request)
      if (done < start + length) break // the file has ended
    } else {
      next++
      done += yield* moveCopied(part, memory, direction, (at) => begin(start + at))
      if (done < start + part.length) break
    }
  }
  return done
}

/** Adds parts to a request, up to the next that is not mapped here. @returns its index */
function addMapped(request: FileRequest, parts: readonly Part[], first: number): number {
  let next = first
  for (; next < parts.length; next++) {
    const { entry, iova, length } = parts[next]!
    if (!entry.memory.mapped) break
    entry.memory.addTo(request, iova, iova + length)
  }
  return next
}

function* moveAll(request: FileRequest): Generator<Step, number, number> {
  let moved = 0
  while (request.length > 0) {
    const count = yield request
    if (count === 0) break
    request.advance(count)
    moved += count
  }
  return moved
}

/** Moves by way of a buffer. @throws EFAULT memory that only the client reaches, and that it has unmapped meanwhile */
function* moveCopied(
  { entry, iova, length }: Part,
  memory: CopiedMemory,
  direction: Direction,
  begin: (at: number) => FileRequest,
): Generator<Step, number, number> {
  const buffer = blockOf(new Uint8Array(Math.min(BOUNCE, length)))
  const offsetOf = (at: number): number => {
    if (entry.closed)
      throw new ErrnoError('EFAULT', `dma at ${hex(iova + at)}: not mapped any more`)
    return iova + at - entry.iova
  }
  let at = 0
  while (at < length) {
    const part = Math.min(buffer.bytes.length, length - at)
    if (direction === 'to-file') {
      const fetched = memory.read(offsetOf(at), buffer.bytes.subarray(0, part))
      if (fetched !== undefined) yield fetched
    }
    const request = begin(at)
    request.add(buffer, 0, part)
    const count = yield request
    if (count === 0) break
    if (direction === 'from-file') {
      const stored = memory.write(offsetOf(at), buffer.bytes.subarray(0, count))
      if (stored !== undefined) yield stored
    }
    at += count
  }
  return at
}
