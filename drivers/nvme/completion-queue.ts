/** A completion queue: a ring in guest memory that commands end in, with a phase tag that turns over at every round (4.1, 4.6). */
import type { Dma } from 'mdevkit'
import type { Command } from './command.ts'
import type { Interrupts } from './interrupts.ts'
import { ringDistance } from './ring-distance.ts'
import type { ShadowDoorbell } from './shadow-doorbells.ts'
import { CQE_SIZE } from './spec.ts'

/** What queues need of their controller. */
export interface QueueHost {
  readonly dma: Dma
  readonly interrupts: Interrupts
  /** A queue is in memory that is not there: nothing can go on. */
  fail(what: string, error: unknown): void
  /** There is something to do. */
  work(): void
  /** Commands are not wanted any more, of which the disk may not have begun all. */
  dropUnwanted(): void
  /** Memory of the guest had to be asked for. */
  asked(): void
}

export interface CompletionQueueInfo {
  readonly id: number
  /** Where it starts, as an IOVA. */
  readonly base: number
  /** Entries. */
  readonly size: number
  /** Of its interrupt; undefined for none. */
  readonly vector: number | undefined
}

/** A submission queue that ends here. */
export interface Submitter {
  readonly id: number
  /** Where the guest's next entry will be taken from. */
  readonly head: number
  /** The command's room can be used again. */
  release(command: Command): void
}

export class CompletionQueue {
  readonly id: number
  readonly vector: number | undefined
  /** Where the guest keeps the head, if it does. */
  #shadow: ShadowDoorbell | undefined
  /** How many submission queues end here. */
  users = 0
  readonly #host: QueueHost
  readonly #base: number
  readonly #size: number
  /** The guest has read what is before. */
  #head = 0
  #tail = 0
  #phase = 1
  /** Entries that interrupts were told of, less those that the guest has read. */
  #unread = 0
  /** What finds no room. */
  readonly #waiting: { readonly command: Command; readonly from: Submitter }[] = []
  #closed = false

  constructor(host: QueueHost, { id, base, size, vector }: CompletionQueueInfo) {
    this.#host = host
    this.id = id
    this.vector = vector
    this.#base = base
    this.#size = size
  }

  /** Tells the guest that a command has ended, now or when there is room. */
  post(command: Command, from: Submitter): void {
    try {
      if (this.#waiting.length === 0 && this.#hasRoom()) this.#write(command, from)
      else {
        this.#waiting.push({ command, from })
        this.look() // so that the guest rings for what waits
      }
    } catch (error) {
      this.#host.fail(`completion queue ${this.id}`, error)
    }
  }

  /** The doorbell: the guest has read up to `head`. @returns false where it cannot have */
  ring(head: number): boolean {
    if (head >= this.#size) return false
    const taken = ringDistance(this.#head, head, this.#size)
    if (taken > this.#used) return false
    this.#head = head
    if (taken > 0) this.#count(-taken)
    while (this.#waiting.length > 0 && this.#used < this.#size - 1) {
      const { command, from } = this.#waiting.shift()!
      this.#write(command, from)
    }
    return true
  }

  /** Where the guest will read next, as far as it has said. */
  get head(): number {
    return this.#head
  }

  get shadow(): ShadowDoorbell | undefined {
    return this.#shadow
  }

  /** The guest keeps the head there from now on. */
  set shadow(shadow: ShadowDoorbell | undefined) {
    this.#shadow = shadow
    shadow?.begin(this.#head)
  }

  /** Takes what the guest says in memory, and has it ring when there is a need to hear of more. @returns as {@link ring} */
  look(): boolean {
    const shadow = this.#shadow
    if (shadow === undefined) return true
    for (;;) {
      if (!this.ring(shadow.value)) return false
      // the pin can only be let go of when it is heard that all has been read
      if (!this.#host.interrupts.usesPin && this.#waiting.length === 0) {
        shadow.hush(this.#head, this.#size)
        return true
      }
      // from where it is by now, or the guest goes past what was asked for, and never rings
      shadow.ask(this.#head)
      if (shadow.value === this.#head) return true
    }
  }

  /** Nothing is written any more, and what was not read interrupts no more. */
  close(): void {
    this.#closed = true
    this.#waiting.length = 0
    this.#count(-this.#unread)
  }

  get #used(): number {
    return ringDistance(this.#head, this.#tail, this.#size)
  }

  #hasRoom(): boolean {
    // what the guest keeps in memory is looked at long before it matters: then it need not ring
    if (2 * this.#used < this.#size) return true
    this.look()
    return this.#used < this.#size - 1
  }

  #write(command: Command, from: Submitter): void {
    const { dma } = this.#host
    const at = this.#base + this.#tail * CQE_SIZE
    const queue = from.id * 0x10000 + from.head
    const last = (command.status * 2 + this.#phase) * 0x10000 + command.id
    const { result } = command
    this.#tail++
    if (this.#tail === this.#size) {
      this.#tail = 0
      this.#phase ^= 1
    }
    from.release(command)
    const [a, b, c] = [
      dma.writeU32(at, result),
      dma.writeU32(at + 4, 0),
      dma.writeU32(at + 8, queue),
    ]
    // the phase is in it: all the rest must be there before
    const end = () => (this.#closed ? undefined : dma.writeU32(at + 12, last))
    const isDone = a === undefined && b === undefined && c === undefined
    const under = isDone ? end() : Promise.all([a, b, c]).then(end)
    if (under === undefined) this.#posted()
    else this.#later(under)
  }

  /** The guest's memory has to be asked for. */
  #later(under: Promise<unknown>): void {
    under.then(
      () => {
        if (this.#closed) return
        this.#posted()
        this.#host.work()
      },
      (error: unknown) => this.#closed || this.#host.fail(`completion queue ${this.id}`, error),
    )
  }

  #posted(): void {
    this.#count(1)
  }

  #count(entries: number): void {
    this.#unread += entries
    if (this.vector === undefined) return
    // administration does not wait for anything
    if (entries > 0) this.#host.interrupts.posted(this.vector, this.id === 0)
    else this.#host.interrupts.taken(this.vector, -entries)
  }
}
