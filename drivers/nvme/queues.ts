/** All queues of a controller that is enabled: making and deleting them (5.3 to 5.6), and their doorbells (3.1.24, 3.1.25). */
import { ErrnoError } from 'mdevkit'
import type { Command } from './command.ts'
import { CompletionQueue, type QueueHost } from './completion-queue.ts'
import { ShadowDoorbell, type DoorbellBuffers } from './shadow-doorbells.ts'
import { CREATE, STATUS } from './spec.ts'
import { StatusError } from './status-error.ts'
import { SubmissionQueue, type SubmissionQueueEvents } from './submission-queue.ts'

export interface QueuesOptions {
  readonly host: QueueHost
  /** I/O queues of either kind that there can be. */
  readonly maxQueues: number
  /** Most entries of one. */
  readonly maxEntries: number
  /** Bytes; what queues are aligned to. */
  readonly pageSize: number
  /** Whether the guest has said right how large entries are. */
  readonly entriesAreRight: () => boolean
  readonly admin: SubmissionQueueEvents
  readonly io: SubmissionQueueEvents
}

export interface AdminQueues {
  readonly submissionBase: number
  readonly submissionSize: number
  readonly completionBase: number
  readonly completionSize: number
}

export class Queues {
  readonly #options: QueuesOptions
  /** By id. */
  readonly #submission = new Map<number, SubmissionQueue>()
  readonly #completion = new Map<number, CompletionQueue>()
  #buffers: DoorbellBuffers | undefined

  constructor(options: QueuesOptions, admin: AdminQueues) {
    this.#options = options
    const { host } = options
    const completions = new CompletionQueue(host, {
      id: 0,
      base: admin.completionBase,
      size: admin.completionSize,
      vector: 0,
    })
    this.#completion.set(0, completions)
    const info = { id: 0, base: admin.submissionBase, size: admin.submissionSize, completions }
    this.#submission.set(0, new SubmissionQueue(host, info, options.admin))
  }

  /** Queues that commands come from. */
  get submission(): ReadonlyMap<number, SubmissionQueue> {
    return this.#submission
  }

  /** Whether there are others than the admin queues. */
  get hasIo(): boolean {
    return this.#submission.size > 1 || this.#completion.size > 1
  }

  /** Whether guests keep doorbells in memory. */
  get hasShadows(): boolean {
    return this.#buffers !== undefined
  }

  /** The tail of a submission queue. @returns what is wrong: no such queue, or no such value */
  ringTail(id: number, value: number): 'queue' | 'value' | undefined {
    const queue = this.#submission.get(id)
    if (queue === undefined) return 'queue'
    if (queue.shadow !== undefined) {
      // the register may be behind the memory
      queue.look()
      return undefined
    }
    if (!queue.ring(value)) return 'value'
    if (id === 0) this.#askForAdmin(0, value)
    return undefined
  }

  /** The head of a completion queue, as {@link ringTail}. */
  ringHead(id: number, value: number): 'queue' | 'value' | undefined {
    const queue = this.#completion.get(id)
    if (queue === undefined) return 'queue'
    const isRight = queue.shadow === undefined ? queue.ring(value) : queue.look()
    if (isRight && id === 0) this.#askForAdmin(1, value)
    return isRight ? undefined : 'value'
  }

  /** Create I/O Completion Queue. @throws StatusError */
  createCompletion({ cdw10, cdw11, address }: QueueRequest): void {
    const { host } = this.#options
    const id = cdw10 & 0xffff
    this.#checkNew(id, this.#completion)
    const size = this.#sizeOf(cdw10)
    this.#checkKind(cdw11)
    const vector = cdw11 >>> 16
    if (vector >= host.interrupts.count) throw new StatusError(STATUS.INVALID_INTERRUPT_VECTOR)
    const interrupts = (cdw11 & CREATE.IEN) !== 0
    const base = this.#baseOf(address)
    const shadow = this.#newShadow(2 * id + 1)
    const queue = new CompletionQueue(host, {
      id,
      base,
      size,
      vector: interrupts ? vector : undefined,
    })
    queue.shadow = shadow
    this.#completion.set(id, queue)
  }

  /** Create I/O Submission Queue. @throws StatusError */
  createSubmission({ cdw10, cdw11, address }: QueueRequest): void {
    const id = cdw10 & 0xffff
    const completionId = cdw11 >>> 16
    const completions = completionId === 0 ? undefined : this.#completion.get(completionId)
    if (completions === undefined) {
      const isPossible = completionId > 0 && completionId <= this.#options.maxQueues
      throw new StatusError(
        isPossible ? STATUS.COMPLETION_QUEUE_INVALID : STATUS.INVALID_QUEUE_IDENTIFIER,
      )
    }
    this.#checkNew(id, this.#submission)
    const size = this.#sizeOf(cdw10)
    this.#checkKind(cdw11)
    const info = { id, base: this.#baseOf(address), size, completions }
    const shadow = this.#newShadow(2 * id)
    const queue = new SubmissionQueue(this.#options.host, info, this.#options.io)
    queue.shadow = shadow
    this.#submission.set(id, queue)
  }

  /** Delete I/O Submission Queue; what it has sent ends before, if need be by giving up. @throws StatusError */
  async deleteSubmission({ cdw10 }: Pick<Command, 'cdw10'>): Promise<void> {
    const id = cdw10 & 0xffff
    const queue = id === 0 ? undefined : this.#submission.get(id)
    if (queue === undefined || queue.draining)
      throw new StatusError(STATUS.INVALID_QUEUE_IDENTIFIER)
    const drained = queue.drain()
    this.#options.host.dropUnwanted()
    await drained
    if (queue.closed) return
    queue.close()
    this.#submission.delete(id)
  }

  /** Delete I/O Completion Queue. @throws StatusError */
  deleteCompletion({ cdw10 }: Pick<Command, 'cdw10'>): void {
    const id = cdw10 & 0xffff
    const queue = id === 0 ? undefined : this.#completion.get(id)
    if (queue === undefined) throw new StatusError(STATUS.INVALID_QUEUE_IDENTIFIER)
    if (queue.users > 0) throw new StatusError(STATUS.INVALID_QUEUE_DELETION)
    queue.close()
    this.#completion.delete(id)
  }

  /**
   * Takes doorbells from memory from now on, but for those of the admin queues: drivers write these to the registers alone.
   *
   * @throws EOPNOTSUPP, EFAULT, EACCES of the memory; nothing has changed then
   */
  setShadows(buffers: DoorbellBuffers): void {
    const shadow = (number: number) => new ShadowDoorbell(this.#options.host.dma, buffers, number)
    // which shows that both pages can be written
    shadow(0).begin(this.#submission.get(0)!.tail)
    shadow(1).begin(this.#completion.get(0)!.head)
    this.#buffers = buffers
    for (const [id, queue] of this.#submission) if (id > 0) queue.shadow = shadow(2 * id)
    for (const [id, queue] of this.#completion) if (id > 0) queue.shadow = shadow(2 * id + 1)
  }

  /** Nothing that is under way has any effect on the guest any more. */
  close(): void {
    for (const queue of this.#submission.values()) queue.close()
    for (const queue of this.#completion.values()) queue.close()
    this.#submission.clear()
    this.#completion.clear()
  }

  /** A guest that does keep an admin doorbell in memory is to ring whenever it moves. @param number of the doorbell */
  #askForAdmin(number: number, value: number): void {
    if (this.#buffers !== undefined)
      new ShadowDoorbell(this.#options.host.dma, this.#buffers, number).ask(value)
  }

  /** For a queue that is about to be made. @throws StatusError the memory of the doorbells has gone */
  #newShadow(number: number): ShadowDoorbell | undefined {
    if (this.#buffers === undefined) return undefined
    const shadow = new ShadowDoorbell(this.#options.host.dma, this.#buffers, number)
    try {
      shadow.begin(0)
    } catch (error) {
      if (error instanceof ErrnoError) throw new StatusError(STATUS.DATA_TRANSFER_ERROR)
      throw error
    }
    return shadow
  }

  #checkNew(id: number, queues: ReadonlyMap<number, unknown>): void {
    if (id === 0 || id > this.#options.maxQueues || queues.has(id))
      throw new StatusError(STATUS.INVALID_QUEUE_IDENTIFIER)
  }

  #sizeOf(cdw10: number): number {
    const size = (cdw10 >>> 16) + 1
    if (size < 2 || size > this.#options.maxEntries)
      throw new StatusError(STATUS.INVALID_QUEUE_SIZE)
    return size
  }

  #checkKind(cdw11: number): void {
    if ((cdw11 & CREATE.PC) === 0 || !this.#options.entriesAreRight())
      throw new StatusError(STATUS.INVALID_FIELD)
  }

  #baseOf(address: number): number {
    if (address % this.#options.pageSize !== 0) throw new StatusError(STATUS.PRP_OFFSET_INVALID)
    return address
  }
}

/** What Create I/O Queue says. */
export interface QueueRequest {
  readonly cdw10: number
  readonly cdw11: number
  /** PRP entry 1. */
  readonly address: number
}
