/** A file that is read and written by many requests at the same time, none of which is waited for. */
import { closeSync, constants as fs, fstatSync, openSync, statSync } from 'node:fs'
import { constants } from 'node:os'
import * as abi from '../abi/file.ts'
import { ErrnoError, errnoCode } from '../lib/errno.ts'
import { bytes, hex } from '../lib/format.ts'
import { Unwind } from '../lib/unwind.ts'
import { CutWatch } from './cut-watch.ts'
import { type DirectAlignment, directAlignment } from './direct-io.ts'
import { addressOf, cFunction, check } from './ffi.ts'
import { tryLockFd } from './file-lock.ts'
import { type EngineName, fileEngine } from './file-engine.ts'
import type { FileUser } from './file-turns.ts'
import { type Block, type FileEngine, type FileOperation, FileRequest } from './file-request.ts'

const lseek = cFunction('lseek', 'size', ['int', 'size', 'int'])
const SEEK_END = 2
const { EAGAIN, EINTR, EIO, ENOTTY, EOPNOTSUPP } = constants.errno

/** Bytes of zeros that are written in one go. */
const ZEROS = 2 ** 20
/** How often a request is made again that the kernel puts off. */
const MAX_RETRIES = 16
/** Most requests that are kept for the next transfer. */
const MAX_SPARE = 256

/** The end of a request: nothing, or what went wrong. */
export type FileDone = (error?: ErrnoError) => void

export interface AsyncFileOptions {
  readonly readOnly?: boolean
  /** Past the page cache (O_DIRECT). */
  readonly direct?: boolean
  /** Nobody else may open it so, in this process or another, until it is closed. */
  readonly exclusive?: boolean
  /** What carries the requests out: io_uring where this process may use it, unless given. */
  readonly engine?: EngineName
}

export class AsyncFile {
  readonly path: string
  readonly readOnly: boolean
  readonly direct: boolean
  readonly isBlockDevice: boolean
  /** Bytes that positions and lengths, and addresses of memory, must be multiples of; 1 unless `direct`. */
  readonly alignment: DirectAlignment
  readonly #fd: number
  readonly #engine: FileEngine
  readonly #spare: FileRequest[] = []
  #underWay = 0
  #whenIdle: (() => void)[] = []
  #closed = false
  /** Modes of fallocate(2) that this file system does not know. */
  readonly #unknownModes = new Set<number>()

  /**
   * @throws ENOENT, EACCES… what opening says · EINVAL `direct`, and the file system has no such thing; or neither file nor
   *         block device · EBUSY `exclusive`, and somebody has it · EPERM, ENOSYS no io_uring, where that was asked for
   */
  constructor(path: string, options: AsyncFileOptions = {}) {
    const { readOnly = false, direct = false, exclusive = false, engine } = options
    using undo = new Unwind()
    const stat = statSync(path)
    if (!stat.isFile() && !stat.isBlockDevice())
      throw new ErrnoError('EINVAL', `${path}: neither a file nor a block device`)
    this.#fd = open(path, readOnly, direct)
    undo.defer(() => closeSync(this.#fd))
    if (exclusive && !tryLockFd(this.#fd, path))
      throw new ErrnoError('EBUSY', `${path}: in use, by this process or another`)
    this.path = path
    this.readOnly = readOnly
    this.direct = direct
    this.isBlockDevice = stat.isBlockDevice()
    this.alignment = direct ? directAlignment(this.#fd) : UNALIGNED
    this.#engine = fileEngine(engine)
    this.#engine.hold()
    undo.keep()
  }

  /** What carries the requests out. */
  get engine(): EngineName {
    return this.#engine.name
  }

  /** Bytes, now. */
  get size(): number {
    return check(lseek(this.#fd, 0, SEEK_END), `${this.path}: lseek`)
  }

  /** Whether no path leads to it any more: what is in it goes when it is closed. */
  get deleted(): boolean {
    return fstatSync(this.#fd).nlink === 0
  }

  /**
   * Watches from now on whether it is cut below `end`, bytes; also where it is made longer again. The caller closes the watch.
   *
   * @returns undefined for a block device, and where this file cannot be watched: its size is all there is to go by then
   * @throws EBADF closed · ENOSPC, ENOMEM too many mappings
   */
  watchCuts(end: number): CutWatch | undefined {
    this.#checkOpen()
    return this.isBlockDevice ? undefined : CutWatch.over(this.#fd, end)
  }

  /**
   * A request for {@link queue}, which takes it back.
   *
   * @param user where more is asked for than the kernel is given at a time, users of a file are served in turn; all who are not named
   *             are one
   * @throws EBADF closed · EINVAL no position
   */
  request(operation: FileOperation, position: number, user?: FileUser): FileRequest {
    this.#checkOpen()
    return this.#request(operation, position, user)
  }

  #checkOpen(): void {
    if (this.#closed) throw new ErrnoError('EBADF', `${this.path}: closed`)
  }

  #request(operation: FileOperation, position: number, user: FileUser = this): FileRequest {
    if (!Number.isSafeInteger(position) || position < 0)
      throw new ErrnoError('EINVAL', `${this.path}: ${position} is no position in a file`)
    const request = this.#spare.pop() ?? new FileRequest()
    request.start(operation, this.#fd, position, nobody)
    request.user = user
    request.cached = !this.direct
    return request
  }

  /** Takes back a request that came to nothing. */
  drop(request: FileRequest): void {
    request.clear()
    if (this.#spare.length < MAX_SPARE) this.#spare.push(request)
  }

  /** Queues a request until {@link submit}; all of it is moved, or `done` says why not. A file that ends early is EIO. */
  queue(request: FileRequest, done: FileDone): void {
    this.#underWay++
    request.done = (result) => this.#step(request, result, done)
    this.#engine.queue(request)
  }

  /** Begins what was queued since. Some of it may end before this returns. */
  submit(): void {
    this.#engine.submit()
  }

  /** Calls back once, after the last of the requests that end together now; soon, if none do. */
  afterBatch(action: () => void): void {
    this.#engine.afterBatch(action)
  }

  /** Queues a read into memory of ours, which is the request's until its end. @param user as of {@link request}, like those below */
  read(position: number, target: Block, length: number, done: FileDone, user?: FileUser): void {
    this.#move(this.request('read', position, user), target, length, done)
  }

  /** Queues a write of memory of ours. */
  write(position: number, source: Block, length: number, done: FileDone, user?: FileUser): void {
    this.#move(this.request('write', position, user), source, length, done)
  }

  /** Queues a sync: what was written by requests that have ended outlives a power cut. */
  sync(done: FileDone, user?: FileUser): void {
    this.queue(this.request('sync', 0, user), done)
  }

  /** Queues giving bytes back to the file system; they read as zeros, which are written where it can not. */
  discard(position: number, length: number, done: FileDone, user?: FileUser): void {
    this.#allocate(abi.FALLOC_FL_PUNCH_HOLE | abi.FALLOC_FL_KEEP_SIZE, position, length, done, user)
  }

  /** Queues zeros, for which there is room then; they are written where the file system knows no better. */
  zero(position: number, length: number, done: FileDone, user?: FileUser): void {
    this.#allocate(abi.FALLOC_FL_ZERO_RANGE | abi.FALLOC_FL_KEEP_SIZE, position, length, done, user)
  }

  /** Resolves once no request is under way. */
  async idle(): Promise<void> {
    if (this.#underWay > 0) await new Promise<void>((resolve) => this.#whenIdle.push(resolve))
  }

  /** Closes it once all requests have ended. Idempotent. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    if (this.#underWay > 0) await this.idle() // else it is closed on return: what failed can be tried again at once
    this.#engine.release()
    closeSync(this.#fd)
  }

  #move(request: FileRequest, block: Block, length: number, done: FileDone): void {
    request.add(block, 0, length)
    this.queue(request, done)
  }

  #allocate(
    mode: number,
    position: number,
    length: number,
    done: FileDone,
    user: FileUser | undefined,
  ): void {
    this.#checkOpen()
    if (length === 0) {
      this.afterBatch(done) // fallocate(2) would say EINVAL
      return
    }
    if (this.#unknownModes.has(mode)) {
      this.#writeZeros(position, length, done, user)
      return
    }
    const request = this.request('allocate', position, user)
    request.mode = mode
    request.length = length
    this.queue(request, (error) => {
      if (error?.errno !== EOPNOTSUPP && error?.errno !== ENOTTY) return done(error)
      this.#unknownModes.add(mode)
      this.#writeZeros(position, length, done, user)
      this.submit()
    })
  }

  #writeZeros(position: number, length: number, done: FileDone, user: FileUser | undefined): void {
    const part = Math.min(ZEROS, length)
    // also once it is being closed, which waits for all of what was begun before
    const request = this.#request('write', position, user)
    this.#move(request, (zeros ??= alignedBlock(ZEROS)), part, (error) => {
      if (error !== undefined || part === length) return done(error)
      this.#writeZeros(position + part, length - part, done, user)
      this.submit()
    })
  }

  /** A request has ended, perhaps halfway. */
  #step(request: FileRequest, result: number, done: FileDone): void {
    const moves = request.operation === 'read' || request.operation === 'write'
    const isPart = moves && result > 0 && result < request.length
    const isPutOff = (result === -EAGAIN || result === -EINTR) && request.retries++ < MAX_RETRIES
    if (isPart || isPutOff) {
      if (isPart) request.advance(result)
      this.#engine.queue(request)
      this.#engine.submit()
      return
    }
    const ended = moves && result === 0 && request.length > 0 // the file is shorter than it was
    const error = result < 0 || ended ? this.#errorOf(request, result) : undefined
    this.drop(request)
    this.#underWay--
    try {
      done(error)
    } finally {
      if (this.#underWay === 0) for (const resolve of this.#whenIdle.splice(0)) resolve()
    }
  }

  #errorOf({ operation, position, length }: FileRequest, result: number): ErrnoError {
    const what =
      operation === 'sync' ? 'sync' : `${operation} of ${bytes(length)} at ${hex(position)}`
    if (result < 0) return new ErrnoError(errnoCode(-result), `${this.path}: ${what}`)
    return new ErrnoError(errnoCode(EIO), `${this.path}: ${what}: the file ends before it`)
  }
}

function open(path: string, readOnly: boolean, direct: boolean): number {
  const access = readOnly ? fs.O_RDONLY : fs.O_RDWR
  try {
    return openSync(path, access | (direct ? fs.O_DIRECT : 0))
  } catch (error) {
    if (!direct || (error as NodeJS.ErrnoException).code !== 'EINVAL') throw error
    throw new ErrnoError(
      'EINVAL',
      `${path}: its file system offers no direct I/O; use the page cache`,
      { cause: error },
    )
  }
}

/** New memory that may be used with files opened with O_DIRECT. */
export function alignedBlock(size: number): Block {
  const room = new Uint8Array(size + PAGE)
  const address = addressOf(room)
  const start = (PAGE - (address % PAGE)) % PAGE
  return { bytes: room.subarray(start, start + size), address: address + start }
}

/** Memory of others as a block; only for as long as `bytes` is referenced. */
export function blockOf(bytes: Uint8Array): Block {
  return { bytes, address: addressOf(bytes) }
}

function nobody(): void {}

const PAGE = 4096
const UNALIGNED: DirectAlignment = { memory: 1, offset: 1 }
let zeros: Block | undefined
