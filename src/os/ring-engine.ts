/** File requests by io_uring: a system call for a batch of them, an eventfd for the ends of those that take time. */
import * as abi from '../abi/io-uring.ts'
import { Iovec } from '../abi/socket.ts'
import { addressOf } from './ffi.ts'
import { Actions, type FileEngine, type FileRequest, tellEnd } from './file-request.ts'
import { FileTurns } from './file-turns.ts'
import { IoUring } from './io-uring.ts'
import { QuickIo } from './quick-io.ts'
import { EPOLLET, EPOLLIN, reactor, type Watch } from './reactor.ts'

/** Most requests under way, and most of one user; more wait for their turn here. */
const ENTRIES = 1024
const MAX_EACH = 256
/** Most pieces of one request: what is beyond is left undone, and told so (IOV_MAX). */
const MAX_VECTORS = 1024
/** Most bytes of one request, as the kernel has it (MAX_RW_COUNT). */
const MAX_BYTES = 0x7fff_f000
/** Longest stay in one turn, ms: then it is the others' turn. */
const TURN_MS = 1

/** A request's place in the ring, with room for its vectors. */
interface Slot {
  request: FileRequest | undefined
  vectors: DataView
  address: number
}

export class RingEngine implements FileEngine {
  readonly name = 'io_uring'
  readonly #ring: IoUring
  #watch: Watch | undefined
  #users = 0
  readonly #slots: Slot[] = []
  readonly #free: number[] = []
  readonly #turns: FileTurns
  /** Queued, but not submitted; submitted. */
  #queued: FileRequest[] = []
  #submitted: FileRequest[] = []
  readonly #quick = new QuickIo()
  readonly #vector = Iovec.view()
  #running = false
  #runsSoon = false
  readonly #afterBatch = new Actions()

  /** @throws as {@link IoUring} */
  constructor() {
    this.#ring = new IoUring(ENTRIES)
    for (let i = 0; i < this.#ring.entries; i++) {
      this.#slots.push({ request: undefined, vectors: NO_VECTORS, address: 0 })
      this.#free.push(i)
    }
    this.#turns = new FileTurns(this.#ring.entries, MAX_EACH)
  }

  hold(): void {
    if (this.#users++ > 0) return
    this.#watch = reactor().watch(this.#ring.eventFd.fd, EPOLLIN | EPOLLET, () => this.#run())
  }

  release(): void {
    if (--this.#users > 0) return
    this.#watch?.close()
    this.#watch = undefined
  }

  queue(request: FileRequest): void {
    this.#queued.push(request)
  }

  submit(): void {
    if (this.#queued.length === 0) return
    if (this.#submitted.length === 0) {
      const empty = this.#submitted
      this.#submitted = this.#queued
      this.#queued = empty
    } else this.#submitted.push(...this.#queued.splice(0))
    this.#run()
  }

  afterBatch(action: () => void): void {
    this.#afterBatch.add(action)
    if (!this.#running) this.#afterBatch.runSoon()
  }

  /** Begins what was submitted and ends what has ended, until there is neither. @returns whether there was anything */
  #run(): boolean {
    if (this.#running) return true // what has ended led to more: who is at it goes on with that
    this.#running = true
    this.#ring.quietly = true
    this.#quick.beginTurn()
    const began = performance.now()
    let found = false
    for (let isQuiet = true; ;) {
      const count = this.#begin() + this.#ring.reap(this.#complete)
      if (count > 0) {
        found = true
        if (performance.now() - began < TURN_MS) continue
        this.#runSoon()
        break
      }
      if (!isQuiet) break
      isQuiet = false
      this.#ring.quietly = false // and once more, for what ended just before
    }
    this.#ring.quietly = false
    this.#afterBatch.run()
    this.#running = false
    // the ends of a batch may have led to more; the next turn is that of others
    if (this.#submitted.length > 0) this.#runSoon()
    return found
  }

  #runSoon(): void {
    if (this.#runsSoon) return
    this.#runsSoon = true
    setImmediate(() => {
      this.#runsSoon = false
      this.#run()
    })
  }

  /** Tries what was submitted at once, and gives the rest to the kernel. @returns how many */
  #begin(): number {
    const requests = this.#submitted
    const count = requests.length
    if (count > 0) {
      this.#submitted = []
      for (const request of requests) {
        const result = this.#quick.attempt(request)
        if (result !== undefined) tellEnd(request, result)
        else if (this.#turns.begin(request)) this.#place(request)
      }
    }
    if (this.#ring.hasQueued && !this.#ring.submit()) this.#runSoon()
    return count
  }

  readonly #complete = (index: number, result: number): void => {
    const slot = this.#slots[index]!
    const request = slot.request!
    slot.request = undefined
    this.#free.push(index)
    this.#turns.end(request.user)
    const next = this.#turns.next()
    if (next !== undefined) this.#place(next)
    tellEnd(request, result)
  }

  /** Puts a request into the ring, whose turn it is: there is a place. */
  #place(request: FileRequest): void {
    const index = this.#free.pop()!
    const slot = this.#slots[index]!
    slot.request = request
    const sqe = this.#ring.next()
    sqe.fd = request.fd
    sqe.user_data = index
    switch (request.operation) {
      case 'sync':
        sqe.opcode = abi.IORING_OP_FSYNC
        sqe.rw_flags = abi.IORING_FSYNC_DATASYNC
        return
      case 'allocate':
        sqe.opcode = abi.IORING_OP_FALLOCATE
        sqe.off = request.position
        sqe.addr = request.length
        sqe.len = request.mode
        return
      default: {
        const isRead = request.operation === 'read'
        sqe.off = request.position
        if (request.pieces === 1) {
          sqe.opcode = isRead ? abi.IORING_OP_READ : abi.IORING_OP_WRITE
          sqe.addr = request.addressAt(0)
          sqe.len = Math.min(MAX_BYTES, request.lengthAt(0))
        } else {
          sqe.opcode = isRead ? abi.IORING_OP_READV : abi.IORING_OP_WRITEV
          sqe.len = this.#writeVectors(slot, request)
          sqe.addr = slot.address
        }
      }
    }
  }

  /** @returns how many */
  #writeVectors(slot: Slot, request: FileRequest): number {
    const count = Math.min(MAX_VECTORS, request.pieces)
    if (slot.vectors.byteLength < count * Iovec.size) {
      const room = 2 ** Math.ceil(Math.log2(Math.max(16, count)))
      slot.vectors = new DataView(new ArrayBuffer(room * Iovec.size))
      slot.address = addressOf(slot.vectors)
    }
    for (let i = 0; i < count; i++) {
      const vector = this.#vector.aim(slot.vectors, i * Iovec.size)
      vector.iov_base = request.addressAt(i)
      vector.iov_len = request.lengthAt(i)
    }
    return count
  }
}

const NO_VECTORS = new DataView(new ArrayBuffer(0))
