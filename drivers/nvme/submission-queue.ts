/** A submission queue: a ring in guest memory from which commands are taken, several at a time (4.1). */
import { Command, type CommandQueue } from './command.ts'
import type { CompletionQueue, QueueHost, Submitter } from './completion-queue.ts'
import { ringDistance } from './ring-distance.ts'
import type { ShadowDoorbell } from './shadow-doorbells.ts'
import { SQE_SIZE } from './spec.ts'

/** Most entries that are taken before another queue has its turn. */
const BATCH = 32

export interface SubmissionQueueInfo {
  readonly id: number
  /** Where it starts, as an IOVA. */
  readonly base: number
  /** Entries. */
  readonly size: number
  readonly completions: CompletionQueue
}

export interface SubmissionQueueEvents {
  /** A command is to be carried out: sooner or later it succeeds, fails or is refused. */
  readonly execute: (command: Command) => void
  /** A command has ended otherwise than well. */
  readonly onError: (command: Command) => void
  /** The guest has put a tail into memory that the queue does not have. */
  readonly onBadTail: (queue: SubmissionQueue) => void
}

export class SubmissionQueue implements CommandQueue, Submitter {
  readonly id: number
  readonly completions: CompletionQueue
  /** Where the guest keeps the tail, if it does. */
  #shadow: ShadowDoorbell | undefined
  readonly #host: QueueHost
  readonly #events: SubmissionQueueEvents
  readonly #base: number
  readonly #size: number
  #head = 0
  #tail = 0
  readonly #batch: Uint8Array
  readonly #entries: DataView
  /** Views of the first so many entries of the batch, each made when it is first used. */
  readonly #firsts: (Uint8Array | undefined)[] = []
  readonly #free: Command[] = []
  /** How many commands there are, free or not. */
  #made = 0
  #running = 0
  /** The batch is in use. */
  #fetching = false
  #draining = false
  #closed = false
  #whenDrained: (() => void) | undefined

  constructor(host: QueueHost, info: SubmissionQueueInfo, events: SubmissionQueueEvents) {
    this.#host = host
    this.#events = events
    this.id = info.id
    this.completions = info.completions
    this.#base = info.base
    this.#size = info.size
    this.#batch = new Uint8Array(Math.min(BATCH, info.size) * SQE_SIZE)
    this.#entries = new DataView(this.#batch.buffer)
    this.completions.users++
  }

  get head(): number {
    return this.#head
  }

  /** Where the guest will put its next entry, as far as it has said. */
  get tail(): number {
    return this.#tail
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The doorbell: there are entries up to `tail`. @returns false where there cannot be */
  ring(tail: number): boolean {
    if (tail >= this.#size) return false
    // entries that are not taken yet do not become fewer
    if (
      ringDistance(this.#head, tail, this.#size) < ringDistance(this.#head, this.#tail, this.#size)
    )
      return false
    this.#tail = tail
    return true
  }

  get shadow(): ShadowDoorbell | undefined {
    return this.#shadow
  }

  /** The guest keeps the tail there from now on. */
  set shadow(shadow: ShadowDoorbell | undefined) {
    this.#shadow = shadow
    shadow?.begin(this.#tail)
  }

  /** Takes the tail that the guest keeps in memory. */
  look(): void {
    if (this.#shadow === undefined || this.#isStopped) return
    const tail = this.#shadow.value
    if (tail !== this.#tail && !this.ring(tail)) this.#events.onBadTail(this)
  }

  /** Has the guest ring at its next entry. There may be one already: look for it afterwards. */
  ask(): void {
    this.#shadow?.ask(this.#tail)
  }

  /** Has the guest not ring as long as it can be: this queue is being looked at. */
  hush(): void {
    this.#shadow?.hush(this.#tail, this.#size)
  }

  /** How many entries can be taken now. */
  get work(): number {
    if (this.#fetching || this.#isStopped) return 0
    return Math.min(ringDistance(this.#head, this.#tail, this.#size), this.#room)
  }

  /** Takes what is there, up to a batch. @returns whether there was something */
  fetch(): boolean {
    const count = Math.min(this.work, this.#size - this.#head, BATCH)
    if (count === 0) return false
    const target = (this.#firsts[count] ??= this.#batch.subarray(0, count * SQE_SIZE))
    try {
      const under = this.#host.dma.read(this.#base + this.#head * SQE_SIZE, target)
      if (under === undefined) this.#take(count)
      else this.#takeLater(under, count)
    } catch (error) {
      this.#host.fail(`submission queue ${this.id}`, error)
    }
    return true
  }

  /** The command has ended, and goes to the completion queue. */
  ended(command: Command): void {
    if (command.status !== 0) this.#events.onError(command)
    this.#running--
    this.completions.post(command, this)
    if (this.#running === 0) this.#whenDrained?.()
  }

  release(command: Command): void {
    if (this.#room === 0 && this.#head !== this.#tail) this.#host.work()
    this.#free.push(command)
  }

  /** Takes nothing any more. @returns a promise of the end of all that it has taken */
  async drain(): Promise<void> {
    this.#draining = true
    if (this.#running === 0) return
    await new Promise<void>((resolve) => (this.#whenDrained = resolve))
  }

  /** Whatever is under way has no effect any more. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.completions.users--
  }

  /** Whether it is about to end. */
  get draining(): boolean {
    return this.#draining
  }

  get #isStopped(): boolean {
    return this.#closed || this.#draining
  }

  /** How many more commands may be under way. */
  get #room(): number {
    return this.#free.length + this.#size - this.#made
  }

  #takeLater(under: Promise<void>, count: number): void {
    this.#fetching = true
    this.#host.asked()
    under.then(
      () => {
        if (!this.#isStopped) this.#take(count)
        this.#fetching = false
        this.#host.work()
      },
      (error: unknown) => this.#closed || this.#host.fail(`submission queue ${this.id}`, error),
    )
  }

  #take(count: number): void {
    for (let i = 0; i < count && !this.#closed; i++) {
      const command = this.#free.pop() ?? this.#make()
      command.load(this.#entries, i * SQE_SIZE)
      this.#head = this.#head + 1 === this.#size ? 0 : this.#head + 1
      this.#running++
      this.#events.execute(command)
    }
  }

  #make(): Command {
    this.#made++
    return new Command(this)
  }
}
