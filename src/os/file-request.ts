/** One request to a file, and the memory it is for, in as many pieces as that is in. */

import type { FileUser } from './file-turns.ts'

/** Memory that stays where it is for as long as it is referenced. */
export interface Block {
  readonly bytes: Uint8Array
  /** Of the first of the bytes. */
  readonly address: number
}

export type FileOperation = 'read' | 'write' | 'sync' | 'allocate'

/** Whom requests are of that name nobody. */
const NO_USER: FileUser = {}
/** Most buffers of one call (IOV_MAX). */
const MAX_BUFFERS = 1024
/** Most bytes of one buffer: libuv counts in 32 bits. */
const MAX_BUFFER = 2 ** 30

/** To be used again and again: a request for each transfer would be garbage for each transfer. */
export class FileRequest {
  operation: FileOperation = 'read'
  /** Open until `done`. */
  fd = -1
  /** In the file, bytes. */
  position = 0
  /** Bytes: of all pieces, or of what `allocate` is about. */
  length = 0
  /** Whether it goes through the page cache. */
  cached = false
  /** How often the kernel has put it off. */
  retries = 0
  /** Bits of fallocate(2). */
  mode = 0
  /** In whose turn it begins. */
  user = NO_USER
  /** Hears how it ended: bytes that were moved, which may be fewer than wanted, or a negative errno. */
  done: (result: number) => void = nobody
  readonly #blocks: Block[] = []
  readonly #starts: number[] = []
  readonly #lengths: number[] = []
  #count = 0
  /** The first piece that is not done with. */
  #first = 0

  /** Begins anew, without pieces. */
  start(
    operation: FileOperation,
    fd: number,
    position: number,
    done: (result: number) => void,
  ): this {
    this.operation = operation
    this.fd = fd
    this.position = position
    this.done = done
    this.length = 0
    this.cached = false
    this.retries = 0
    this.mode = 0
    this.#count = 0
    this.#first = 0
    return this
  }

  /** One more piece: `length` bytes of a block. What follows the piece before becomes one with it. */
  add(block: Block, start: number, length: number): void {
    if (length === 0) return
    this.length += length
    const last = this.#count - 1
    const end = last < 0 ? -1 : this.#starts[last]! + this.#lengths[last]!
    if (start === end && this.#blocks[last] === block) {
      this.#lengths[last]! += length
      return
    }
    this.#blocks[this.#count] = block
    this.#starts[this.#count] = start
    this.#lengths[this.#count] = length
    this.#count++
  }

  /** How many pieces are left. */
  get pieces(): number {
    return this.#count - this.#first
  }

  addressAt(index: number): number {
    const i = this.#first + index
    return this.#blocks[i]!.address + this.#starts[i]!
  }

  lengthAt(index: number): number {
    return this.#lengths[this.#first + index]!
  }

  /** What is left, as `node:fs` takes it; or the first of it, where that is too much for one call. */
  buffers(): Uint8Array[] {
    const buffers: Uint8Array[] = []
    const end = Math.min(this.#count, this.#first + MAX_BUFFERS)
    for (let i = this.#first; i < end; i++) {
      const start = this.#starts[i]!
      const length = Math.min(MAX_BUFFER, this.#lengths[i]!)
      buffers.push(this.#blocks[i]!.bytes.subarray(start, start + length))
      if (length < this.#lengths[i]!) break
    }
    return buffers
  }

  /** Whether all pieces begin and end at multiples of `alignment`, a power of two. */
  isAligned(alignment: number): boolean {
    const mask = alignment - 1
    for (let i = 0; i < this.pieces; i++)
      if (((this.addressAt(i) % alignment) | (this.lengthAt(i) & mask)) !== 0) return false
    return true
  }

  /** The first `moved` bytes are done with; what is left is another request. */
  advance(moved: number): void {
    this.position += moved
    this.length -= moved
    let left = moved
    while (left > 0 && left >= this.#lengths[this.#first]!) left -= this.#lengths[this.#first++]!
    if (left === 0) return
    this.#starts[this.#first]! += left
    this.#lengths[this.#first]! -= left
  }

  /** Lets go of the memory, and of whose it was. */
  clear(): void {
    for (let i = 0; i < this.#count; i++) this.#blocks[i] = NO_BLOCK
    this.#count = 0
    this.#first = 0
    this.user = NO_USER
    this.done = nobody
  }
}

function nobody(): void {}

/** What carries out requests, many at a time. */
export interface FileEngine {
  readonly name: 'io_uring' | 'threads'
  /** Takes a request, to begin with {@link submit}. Its `done` is called once, never before that. */
  queue(request: FileRequest): void
  /** Begins what was queued since; some of it may end before this returns. */
  submit(): void
  /** Calls back once, after the last of those that end together now; soon, if none do. */
  afterBatch(action: () => void): void
  /** One more user, who keeps the process alive; pairs with {@link release}, when nothing of theirs is under way. */
  hold(): void
  release(): void
}

/** Tells a request of its end. What that throws is a bug, which surfaces as an uncaught exception, and keeps nobody else waiting. */
export function tellEnd(request: FileRequest, result: number): void {
  try {
    request.done(result)
  } catch (error) {
    throwLater(error)
  }
}

/** What is to be done once, later. */
export class Actions {
  #actions: (() => void)[] = []

  add(action: () => void): void {
    this.#actions.push(action)
  }

  /** As {@link run}, once what runs now has ended. */
  runSoon(): void {
    queueMicrotask(() => this.run())
  }

  /** Does all that was added before; what that adds comes later. What is thrown is as in {@link tellEnd}. */
  run(): void {
    if (this.#actions.length === 0) return
    const actions = this.#actions
    this.#actions = []
    for (const action of actions) {
      try {
        action()
      } catch (error) {
        throwLater(error)
      }
    }
    if (this.#actions.length > 0) setImmediate(() => this.run()) // others first
  }
}

const NO_BLOCK: Block = { bytes: new Uint8Array(0), address: 0 }

function throwLater(error: unknown): void {
  setImmediate(() => {
    throw error
  })
}
