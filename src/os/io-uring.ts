/** io_uring by its three system calls: two rings shared with the kernel, into which requests and out of which completions go. */
import { constants } from 'node:os'
import * as abi from '../abi/io-uring.ts'
import * as memory from '../abi/memory.ts'
import { ErrnoError } from '../lib/errno.ts'
import { Unwind } from '../lib/unwind.ts'
import { mmap, munmap } from './address-space.ts'
import { EventFd } from './eventfd.ts'
import { closeFd } from './fd.ts'
import { addressOf, bytesAt, cFunction, check, lastErrno, systemError } from './ffi.ts'

const setup = cFunction('syscall', 'size', ['size', 'u32', 'ptr'])
const enter = cFunction('syscall', 'size', ['size', 'int', 'u32', 'u32', 'u32', 'ptr', 'size'])
const register = cFunction('syscall', 'size', ['size', 'int', 'u32', 'ptr', 'u32'])

const { EAGAIN, EBUSY, EINTR, EINVAL } = constants.errno

const REQUIRED = abi.IORING_FEAT_SINGLE_MMAP | abi.IORING_FEAT_NODROP

/** One ring of the kernel's. It is never closed with requests under way: the memory that these use would be let go of. */
export class IoUring {
  /** Most requests that may be under way. */
  readonly entries: number
  /** Signalled when requests end, unless {@link quietly}. */
  readonly eventFd: EventFd
  readonly #fd: number
  readonly #mappings: { readonly address: number; readonly size: number }[] = []
  /** Both rings, in words. */
  readonly #ring: Int32Array
  readonly #sqes: DataView
  readonly #sqe = abi.IoUringSqe.view()
  readonly #sqTail: number
  readonly #sqMask: number
  readonly #cqHead: number
  readonly #cqTail: number
  readonly #cqMask: number
  readonly #cqFlags: number
  readonly #cqes: number
  /** Where the next request goes, and how many the kernel has not been told of. */
  #tail: number
  #queued = 0
  #closed = false

  /**
   * @param entries a power of two
   * @throws EPERM forbidden (kernel.io_uring_disabled, or a seccomp filter) · ENOSYS the kernel has none, or too old a one ·
   *         ENOMEM, EMFILE
   */
  constructor(entries: number) {
    using undo = new Unwind()
    const { fd, params, data } = setUp(entries)
    undo.defer(() => closeFd(fd))
    if ((params.features & REQUIRED) !== REQUIRED)
      throw new ErrnoError('ENOSYS', 'io_uring: Linux 5.5 is the least')
    const sq = abi.IoSqringOffsets.view().aim(data, abi.IoUringParams.size)
    const cq = abi.IoCqringOffsets.view().aim(
      data,
      abi.IoUringParams.size + abi.IoSqringOffsets.size,
    )
    const ringSize = Math.max(
      sq.array + params.sq_entries * 4,
      cq.cqes + params.cq_entries * abi.IoUringCqe.size,
    )
    undo.defer(() => this.#unmap())
    this.#ring = new Int32Array(this.#map(fd, ringSize, abi.IORING_OFF_SQ_RING), 0, ringSize >> 2)
    const sqesSize = params.sq_entries * abi.IoUringSqe.size
    this.#sqes = new DataView(this.#map(fd, sqesSize, abi.IORING_OFF_SQES))
    this.eventFd = EventFd.create()
    undo.defer(() => this.eventFd.close())
    const eventFd = new Int32Array([this.eventFd.fd])
    check(
      register(abi.SYS_io_uring_register, fd, abi.IORING_REGISTER_EVENTFD, addressOf(eventFd), 1),
      'io_uring_register eventfd',
    )
    this.entries = params.sq_entries
    this.#fd = fd
    this.#sqTail = sq.tail >> 2
    this.#sqMask = this.#ring[sq.ring_mask >> 2]!
    this.#cqHead = cq.head >> 2
    this.#cqTail = cq.tail >> 2
    this.#cqMask = this.#ring[cq.ring_mask >> 2]!
    this.#cqFlags = cq.flags >> 2
    this.#cqes = cq.cqes >> 2
    this.#tail = this.#ring[this.#sqTail]!
    for (let i = 0; i < this.entries; i++) this.#ring[(sq.array >> 2) + i] = i
    undo.keep()
  }

  /** The next request, all 0, to be filled in; there are never more than `entries` under way. */
  next(): ReturnType<typeof abi.IoUringSqe.view> {
    const start = (this.#tail & this.#sqMask) * abi.IoUringSqe.size
    for (let at = start; at < start + abi.IoUringSqe.size; at += 8)
      this.#sqes.setFloat64(at, 0, true)
    this.#tail = (this.#tail + 1) | 0
    this.#queued++
    return this.#sqe.aim(this.#sqes, start)
  }

  /** Whether there are requests that the kernel has not been told of. */
  get hasQueued(): boolean {
    return this.#queued > 0
  }

  /** Tells the kernel of the requests since. @returns false when it has no room for some: to be called again, later */
  submit(): boolean {
    Atomics.store(this.#ring, this.#sqTail, this.#tail)
    while (this.#queued > 0) {
      const count = enter(abi.SYS_io_uring_enter, this.#fd, this.#queued, 0, 0, 0, 0)
      if (count > 0) this.#queued -= count
      else if (count === 0 || isPassing(lastErrno())) return false
      else throw systemError('io_uring_enter')
    }
    return true
  }

  /** Hands out all completions there are, in their order. @returns how many */
  reap(complete: (userData: number, result: number) => void): number {
    const ring = this.#ring
    let count = 0
    let head = ring[this.#cqHead]!
    // what `complete` does may add to them
    for (; head !== Atomics.load(ring, this.#cqTail); count++) {
      const at = this.#cqes + (head & this.#cqMask) * 4
      const userData = ring[at]!
      const result = ring[at + 2]!
      head = (head + 1) | 0
      Atomics.store(ring, this.#cqHead, head) // before: `complete` may submit, and come here itself
      complete(userData, result)
      head = ring[this.#cqHead]!
    }
    return count
  }

  /** Whether completions signal the eventfd. Whoever turns that on again looks once more at what has come meanwhile. */
  set quietly(quiet: boolean) {
    Atomics.store(this.#ring, this.#cqFlags, quiet ? abi.IORING_CQ_EVENTFD_DISABLED : 0)
  }

  /** No request is under way. Idempotent; nothing else may be called afterwards. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#unmap()
    closeFd(this.#fd)
    this.eventFd.close()
  }

  #map(fd: number, size: number, offset: number): ArrayBuffer {
    const access = memory.PROT_READ | memory.PROT_WRITE
    const address = mmap(0, size, access, memory.MAP_SHARED, fd, offset)
    if (address < 0) throw systemError('mmap io_uring')
    this.#mappings.push({ address, size })
    return bytesAt(address, size)
  }

  #unmap(): void {
    for (const { address, size } of this.#mappings.splice(0)) munmap(address, size)
  }
}

/** Asks for a ring; with completions that do not interrupt this thread where Linux (5.19) offers that. */
function setUp(entries: number) {
  const size = abi.IoUringParams.size + abi.IoSqringOffsets.size + abi.IoCqringOffsets.size
  const bytes = new Uint8Array(size)
  const data = new DataView(bytes.buffer)
  const params = abi.IoUringParams.view().aim(data)
  params.flags = abi.IORING_SETUP_COOP_TASKRUN
  let fd = setup(abi.SYS_io_uring_setup, entries, addressOf(bytes))
  if (fd < 0 && lastErrno() === EINVAL) {
    bytes.fill(0)
    fd = setup(abi.SYS_io_uring_setup, entries, addressOf(bytes))
  }
  return { fd: check(fd, 'io_uring_setup'), params, data }
}

function isPassing(errno: number): boolean {
  return errno === EAGAIN || errno === EBUSY || errno === EINTR
}
