/** One command: a submission queue entry that was read once, and what carrying it out needs. Reused for later entries. */
import type { Done, Wanted } from './disk.ts'
import { SegmentList } from './segment-list.ts'
import { CDW0, DO_NOT_RETRY, RW, STATUS } from './spec.ts'

const TWO_32 = 2 ** 32

/** Where a command comes from and goes back to. */
export interface CommandQueue {
  /** Of the submission queue. */
  readonly id: number
  /** Nothing that it has sent may have any effect on the guest any more. */
  readonly closed: boolean
  /** It is about to be deleted: the sooner its commands end, the better. */
  readonly draining: boolean
  ended(command: Command): void
}

export class Command {
  readonly queue: CommandQueue
  opcode = 0
  /** The other half of what the specification calls command dword 0's low word: FUSE and PSDT. */
  flags = 0
  id = 0
  nsid = 0
  /** The data pointer: PRP entries 1 and 2, or one SGL descriptor. */
  readonly pointer = new Uint32Array(4)
  cdw10 = 0
  cdw11 = 0
  cdw12 = 0
  cdw13 = 0
  cdw14 = 0
  /** Where its data lies, once the pointer is resolved. */
  readonly data = new SegmentList()
  /** On the slice, bytes. */
  offset = 0
  /** Bytes. */
  length = 0
  /** Of the completion: what the status field says, without the phase, and dword 0. */
  status = 0
  result = 0
  /** The guest has called it off. */
  aborted = false
  /** Takes the end of the disk's part in it. */
  next: (command: Command, error: Parameters<Done>[0]) => void = () => {}
  /** For the disk; nothing is made anew for a command. */
  readonly onDisk: Done = (error) => {
    if (!this.queue.closed) this.next(this, error)
  }

  /** For the disk as well: whether what it has not begun is still to be done. */
  readonly isWanted: Wanted = () => !this.queue.closed && !this.queue.draining && !this.aborted

  constructor(queue: CommandQueue) {
    this.queue = queue
  }

  /** Takes an entry in. */
  load(entry: DataView, at: number): void {
    this.opcode = entry.getUint8(at)
    this.flags = entry.getUint8(at + 1)
    this.id = entry.getUint16(at + 2, true)
    this.nsid = entry.getUint32(at + 4, true)
    for (let i = 0; i < 4; i++) this.pointer[i] = entry.getUint32(at + 24 + 4 * i, true)
    this.cdw10 = entry.getUint32(at + 40, true)
    this.cdw11 = entry.getUint32(at + 44, true)
    this.cdw12 = entry.getUint32(at + 48, true)
    this.cdw13 = entry.getUint32(at + 52, true)
    this.cdw14 = entry.getUint32(at + 56, true)
    this.aborted = false
  }

  /** How its data is pointed at: 0 by PRPs, else by an SGL. */
  get psdt(): number {
    return (this.flags & CDW0.PSDT) >> CDW0.PSDT_SHIFT
  }

  get fused(): boolean {
    return (this.flags & CDW0.FUSE) !== 0
  }

  /** Half of the data pointer as an address. Beyond 2^53 it is not exact, and no memory is there. @param half 0 or 1 */
  address(half: 0 | 1): number {
    return this.pointer[2 * half + 1]! * TWO_32 + this.pointer[2 * half]!
  }

  /** The first block that it is about; beyond 2^53 not exact, and no disk goes there. */
  get startBlock(): number {
    return this.cdw11 * TWO_32 + this.cdw10
  }

  /** How many blocks it is about. */
  get blockCount(): number {
    return (this.cdw12 & RW.NLB) + 1
  }

  /** It was done. */
  succeed(result = 0): void {
    this.#end(STATUS.SUCCESS, result)
  }

  /** It cannot be done, today or ever. */
  refuse(status: number): void {
    this.#end(status | DO_NOT_RETRY, 0)
  }

  /** It was not done, but may be another time. */
  fail(status: number): void {
    this.#end(status, 0)
  }

  #end(status: number, result: number): void {
    if (this.queue.closed) return
    this.status = status
    this.result = result
    this.queue.ended(this)
  }
}
