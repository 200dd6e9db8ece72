/**
 * An NVMe controller (3, 7.6): from enabled to disabled, and the work in between.
 *
 * Not modelled: commands in fused pairs, controller memory, namespace management, firmware update, security, power states,
 * reservations, metadata, and keeping features over a reset.
 */
import { ErrnoError, type Clock, type Dma, type Logger } from 'mdevkit'
import { AdminCommands } from './admin-commands.ts'
import { ASYNC_EVENT_LIMIT, AsyncEvents } from './async-events.ts'
import type { QueueHost } from './completion-queue.ts'
import { DataPointers } from './data-pointer.ts'
import { ERROR_LOG_ENTRIES, ErrorLog } from './error-log.ts'
import { Features } from './features.ts'
import type { ControllerIdentity } from './identify.ts'
import type { Interrupts } from './interrupts.ts'
import { IoCommands } from './io-commands.ts'
import { LongCommands } from './long-commands.ts'
import type { Namespace } from './namespace.ts'
import { type AdminQueues, Queues } from './queues.ts'
import { ShadowPoll } from './shadow-poll.ts'
import { EVENT, LOG, MIN_PAGE_SHIFT } from './spec.ts'
import { Statistics } from './statistics.ts'
import { Transfer } from './transfer.ts'

/** Most entries of a queue. */
export const MAX_QUEUE_ENTRIES = 1024
/** As a power of two of 4096 bytes: 512 KiB. */
const MAX_TRANSFER_POWER = 7
const MAX_TRANSFER = 2 ** (MIN_PAGE_SHIFT + MAX_TRANSFER_POWER)
const MAX_ABORTS = 4
/** Rounds of work until others get their turn. */
const MAX_ROUNDS = 16

export interface ControllerOptions {
  readonly dma: Dma
  readonly log: Logger
  readonly clock: Clock
  readonly interrupts: Interrupts
  readonly namespace: Namespace
  readonly identity: ControllerIdentity
  /** I/O queues of either kind that there can be. */
  readonly maxQueues: number
}

/** What the guest chose when it enabled the controller. */
export interface Enabling extends AdminQueues {
  /** Bytes. */
  readonly pageSize: number
  /** Whether CC has the sizes of queue entries by now. */
  readonly entriesAreRight: () => boolean
}

export class Controller implements QueueHost {
  readonly dma: Dma
  readonly interrupts: Interrupts
  readonly #options: ControllerOptions
  readonly #statistics = new Statistics()
  readonly #errors = new ErrorLog()
  readonly #madeAt: number
  readonly #poll: ShadowPoll
  #queues: Queues | undefined
  #events = new AsyncEvents()
  #failed = false
  #asks = false
  /** Of the disk's work for a guest that has disabled the controller. */
  #quiet: Promise<void> | undefined
  #working = false
  #again = false
  #nextTurn: NodeJS.Immediate | undefined

  constructor(options: ControllerOptions) {
    this.#options = options
    this.dma = options.dma
    this.interrupts = options.interrupts
    this.#madeAt = options.clock.now()
    this.#poll = new ShadowPoll(options.clock, () => this.work())
  }

  /** Whether commands are taken. */
  get enabled(): boolean {
    return this.#queues !== undefined
  }

  /** Whether it has met what it cannot go on from. */
  get failed(): boolean {
    return this.#failed
  }

  /** Whether the guest's memory has to be asked for. */
  get asks(): boolean {
    return this.#asks
  }

  asked(): void {
    this.#asks = true
  }

  /** Begins anew. @throws nothing: what is wrong with the queues shows when they are used */
  enable(enabling: Enabling): void {
    this.#asks = false
    const { dma, log, clock, namespace, identity, maxQueues, interrupts } = this.#options
    const { pageSize } = enabling
    const work = () => this.work()
    const pointers = new DataPointers(dma, pageSize)
    const transfer = new Transfer(dma, pointers)
    const features = new Features({
      transfer,
      interrupts,
      clock,
      maxQueues,
      hasQueues: () => this.#queues?.hasIo ?? false,
    })
    const events = new AsyncEvents()
    const longCommands = new LongCommands({ log, namespace, statistics: this.#statistics, work })
    const admin = new AdminCommands({
      dma,
      log,
      identity,
      limits: {
        maxTransferPower: MAX_TRANSFER_POWER,
        asyncEvents: ASYNC_EVENT_LIMIT,
        aborts: MAX_ABORTS,
        errors: ERROR_LOG_ENTRIES,
      },
      namespace,
      logs: {
        errors: this.#errors,
        statistics: this.#statistics,
        clock,
        firmware: identity.firmware,
        madeAt: this.#madeAt,
        isAlarming: (kelvin) => features.isAlarming(kelvin),
      },
      events,
      features,
      transfer,
      longCommands,
      pageSize,
      maxTransfer: MAX_TRANSFER,
      queues: () => this.#queues!,
      work,
    })
    const io = new IoCommands({
      log,
      namespace,
      statistics: this.#statistics,
      pointers,
      transfer,
      longCommands,
      maxTransfer: MAX_TRANSFER,
      writeCache: () => features.writeCache,
      work,
    })
    const common = {
      onError: (command: Parameters<ErrorLog['add']>[0]) => this.#errors.add(command),
      onBadTail: () => this.#doorbellError('value'),
    }
    this.#events = events
    this.#queues = new Queues(
      {
        host: this,
        maxQueues,
        maxEntries: MAX_QUEUE_ENTRIES,
        pageSize,
        entriesAreRight: enabling.entriesAreRight,
        admin: { ...common, execute: (command) => admin.execute(command) },
        io: { ...common, execute: (command) => io.execute(command) },
      },
      enabling,
    )
  }

  /** Forgets all commands and queues at once. Until {@link quiet} the disk may still be using memory that they named. */
  disable(): void {
    if (this.#nextTurn !== undefined) clearImmediate(this.#nextTurn)
    this.#nextTurn = undefined
    this.#poll.stop()
    this.#failed = false
    this.#queues?.close()
    this.interrupts.reset() // after the queues have taken back what was not read
    if (this.#queues === undefined) return
    this.#queues = undefined
    this.#quiet = this.#quiesce()
  }

  /** Nothing where no guest's memory is in use, else a promise of that. */
  get quiet(): Promise<void> | undefined {
    return this.#quiet
  }

  async #quiesce(): Promise<void> {
    try {
      await this.#options.namespace.slice.quiesce()
    } catch (error) {
      this.#options.log.error('nvme: the disk', error)
    }
    this.#quiet = undefined
  }

  /** Shutdown (7.6.2): what was written is safe when this has ended. */
  async flush(): Promise<void> {
    const { slice } = this.#options.namespace
    if (slice.readOnly) return
    await new Promise<void>((resolve, reject) => {
      slice.flush((error) => (error === undefined ? resolve() : reject(error)))
      slice.submit()
    })
  }

  /** A doorbell was written. @param number of it, counted from the tail of submission queue 0 */
  ring(number: number, value: number): void {
    const queues = this.#queues
    if (queues === undefined || this.#failed) return
    const id = number >>> 1
    this.#guarded('doorbell', () => {
      const wrong = number % 2 === 0 ? queues.ringTail(id, value) : queues.ringHead(id, value)
      if (wrong !== undefined) this.#doorbellError(wrong)
    })
    this.work()
  }

  /** Does what there is to do, but not for too long at a time. */
  work(): void {
    if (this.#working) {
      this.#again = true
      return
    }
    this.#working = true
    try {
      this.#guarded('queues', () => this.#rounds())
    } finally {
      this.#working = false
    }
    this.interrupts.flush()
  }

  dropUnwanted(): void {
    this.#options.namespace.slice.dropUnwanted()
  }

  fail(what: string, error: unknown): void {
    if (!(error instanceof ErrnoError)) throw error
    if (this.#failed) return // one word of it is enough
    this.#options.log.warn(
      `nvme: ${what}: ${error.message}: fatal until the guest resets the controller`,
    )
    this.#failed = true
    this.#poll.stop()
  }

  #rounds(): void {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const queues = this.#queues
      if (queues === undefined || this.#failed) return
      this.#again = false
      if (queues.hasShadows) this.#poll.look(queues)
      for (const queue of queues.submission.values()) {
        if (queue.fetch()) this.#again = true
        if (this.#failed) return
      }
      this.#options.namespace.slice.submit()
      // before the interrupt: a guest that has been told of the end of one command may have sent the next
      if (!this.#again && queues.hasShadows) this.#again = this.#poll.settle(queues)
      if (!this.#again) return
    }
    this.#nextTurn ??= setImmediate(() => {
      this.#nextTurn = undefined
      this.work()
    })
  }

  /** Runs what uses queues, which may be in memory that has gone. */
  #guarded(what: string, action: () => void): void {
    try {
      action()
    } catch (error) {
      this.fail(what, error)
    }
  }

  #doorbellError(wrong: 'queue' | 'value'): void {
    const information = wrong === 'queue' ? EVENT.INVALID_DOORBELL : EVENT.INVALID_DOORBELL_VALUE
    this.#events.notify(EVENT.ERROR, information, LOG.ERROR)
  }
}
