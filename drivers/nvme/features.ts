/** Features (5.21.1): what guests may set, until the controller is reset. */
import type { Clock } from 'mdevkit'
import type { Command } from './command.ts'
import type { Interrupts } from './interrupts.ts'
import { NAMESPACE_ID } from './namespace.ts'
import {
  BROADCAST_NSID,
  COALESCING_DISABLE,
  ERROR_RECOVERY,
  FEATURE,
  FEATURE_CHANGEABLE,
  FEATURE_OF_NAMESPACE,
  SAVE,
  SELECT,
  STATUS,
} from './spec.ts'
import { StatusError } from './status-error.ts'
import { TemperatureThresholds } from './temperature-thresholds.ts'
import { readTimestamp, Timestamp } from './timestamp.ts'
import type { Transfer } from './transfer.ts'

export interface FeaturesContext {
  readonly transfer: Transfer
  readonly interrupts: Interrupts
  readonly clock: Clock
  /** I/O queues of either kind that there can be. */
  readonly maxQueues: number
  /** Whether there are I/O queues already. */
  readonly hasQueues: () => boolean
}

/** 0-based count of Arbitration Burst meaning no limit; queues take turns as we see fit. */
const NO_LIMIT = 7
const WRITE_CACHE_ENABLE = 1 << 0
const EXTENDED_HOST_ID = 1 << 0

/** Those that are just kept: their values after a reset, and the bits that may be set. */
const KEPT: Readonly<Record<number, { readonly initial: number; readonly bits: number }>> = {
  [FEATURE.ARBITRATION]: { initial: NO_LIMIT, bits: 0xffff_ff07 },
  [FEATURE.ERROR_RECOVERY]: { initial: 0, bits: ERROR_RECOVERY.TIME_LIMIT },
  [FEATURE.VOLATILE_WRITE_CACHE]: { initial: WRITE_CACHE_ENABLE, bits: WRITE_CACHE_ENABLE },
  [FEATURE.WRITE_ATOMICITY]: { initial: 0, bits: 1 },
  [FEATURE.ASYNC_EVENT_CONFIGURATION]: { initial: 0, bits: 0xffff_ffff },
}

export class Features {
  readonly #context: FeaturesContext
  readonly #kept = new Map<number, number>()
  readonly #temperatures = new TemperatureThresholds()
  readonly #hostId = new Uint8Array(16)
  readonly #timestamp: Timestamp
  #queues: number
  #coalescing = 0
  /** By vector. */
  readonly #coalescingDisabled = new Set<number>()
  readonly #handlers: Readonly<Record<number, FeatureHandler>>

  constructor(context: FeaturesContext) {
    this.#context = context
    this.#queues = queuePair(context.maxQueues, context.maxQueues)
    this.#timestamp = new Timestamp(context.clock)
    this.#handlers = {
      [FEATURE.POWER_MANAGEMENT]: {
        get: () => 0,
        set({ cdw11 }) {
          if ((cdw11 & 0x1f) !== 0) throw new StatusError(STATUS.INVALID_FIELD) // there is one power state
          return 0
        },
      },
      [FEATURE.TEMPERATURE_THRESHOLD]: {
        get: ({ cdw11 }, select) => this.#temperatures.get(cdw11, select),
        set: ({ cdw11 }) => {
          this.#temperatures.set(cdw11)
          return 0
        },
      },
      [FEATURE.NUMBER_OF_QUEUES]: {
        get: (_, select) =>
          select === SELECT.CURRENT
            ? this.#queues
            : queuePair(context.maxQueues, context.maxQueues),
        set: ({ cdw11 }) => this.#setQueues(cdw11),
      },
      [FEATURE.INTERRUPT_COALESCING]: {
        get: (_, select) => (select === SELECT.CURRENT ? this.#coalescing : 0),
        set: ({ cdw11 }) => this.#setCoalescing(cdw11),
      },
      [FEATURE.INTERRUPT_VECTOR_CONFIGURATION]: {
        get: ({ cdw11 }, select) => this.#vectorConfiguration(cdw11 & 0xffff, select),
        set: ({ cdw11 }) => this.#configureVector(cdw11),
      },
      [FEATURE.TIMESTAMP]: {
        get: async (command) => {
          await context.transfer.toGuest(command, this.#timestamp.bytes)
          return 0
        },
        set: async (command) => {
          const bytes = new Uint8Array(8)
          await context.transfer.fromGuest(command, bytes)
          this.#timestamp.set(readTimestamp(bytes))
          return 0
        },
      },
      [FEATURE.HOST_IDENTIFIER]: {
        get: async (command) => {
          await context.transfer.toGuest(command, this.#hostId.subarray(0, hostIdSize(command)))
          return 0
        },
        set: async (command) => {
          const bytes = new Uint8Array(hostIdSize(command))
          await context.transfer.fromGuest(command, bytes)
          this.#hostId.fill(0)
          this.#hostId.set(bytes)
          return 0
        },
      },
    }
  }

  get writeCache(): boolean {
    return this.#value(FEATURE.VOLATILE_WRITE_CACHE) !== 0
  }

  /** Whether SMART is to warn of a temperature. */
  isAlarming(kelvin: number): boolean {
    return this.#temperatures.isAlarming(kelvin)
  }

  /** Set Features. @returns dword 0 of the completion @throws StatusError */
  async set(command: Command): Promise<number> {
    const id = command.cdw10 & 0xff
    const handler = this.#handlers[id]
    const kept = KEPT[id]
    if (handler === undefined && kept === undefined) throw new StatusError(STATUS.INVALID_FIELD)
    if (command.cdw10 >= SAVE) throw new StatusError(STATUS.FEATURE_NOT_SAVEABLE)
    checkNamespaceToSet(id, command.nsid)
    if (handler !== undefined) return handler.set(command)
    this.#keep(id, command.cdw11)
    return 0
  }

  /** Get Features, as {@link set}. */
  async get(command: Command): Promise<number> {
    const id = command.cdw10 & 0xff
    const select = (command.cdw10 >>> 8) & 0x7
    const handler = this.#handlers[id]
    const kept = KEPT[id]
    if ((handler === undefined && kept === undefined) || select > SELECT.CAPABILITIES)
      throw new StatusError(STATUS.INVALID_FIELD)
    if (isOfNamespace(id) && command.nsid !== NAMESPACE_ID)
      throw new StatusError(STATUS.INVALID_NAMESPACE)
    if (select === SELECT.CAPABILITIES)
      return FEATURE_CHANGEABLE | (isOfNamespace(id) ? FEATURE_OF_NAMESPACE : 0)
    if (handler !== undefined) return handler.get(command, select)
    if (select !== SELECT.CURRENT) return kept!.initial // nothing is saved: the default counts
    return this.#value(id)
  }

  #value(id: number): number {
    return this.#kept.get(id) ?? KEPT[id]?.initial ?? 0
  }

  #keep(id: number, value: number): void {
    // there are no errors for blocks that are not allocated: they read as zeros
    if (id === FEATURE.ERROR_RECOVERY && (value & ERROR_RECOVERY.DULBE) !== 0)
      throw new StatusError(STATUS.INVALID_FIELD)
    this.#kept.set(id, (value & KEPT[id]!.bits) >>> 0)
  }

  #setQueues(value: number): number {
    const submission = value & 0xffff
    const completion = value >>> 16
    if (submission === 0xffff || completion === 0xffff) throw new StatusError(STATUS.INVALID_FIELD)
    if (this.#context.hasQueues()) throw new StatusError(STATUS.COMMAND_SEQUENCE_ERROR)
    const { maxQueues } = this.#context
    this.#queues = queuePair(
      Math.min(submission + 1, maxQueues),
      Math.min(completion + 1, maxQueues),
    )
    return this.#queues
  }

  #setCoalescing(value: number): number {
    this.#coalescing = value & 0xffff
    const count = (value & 0xff) + 1
    this.#context.interrupts.coalescing = { count, time: (value >>> 8) & 0xff }
    return 0
  }

  #vectorConfiguration(vector: number, select: number): number {
    this.#checkVector(vector)
    const disabled = select === SELECT.CURRENT && this.#coalescingDisabled.has(vector)
    return vector | (disabled ? COALESCING_DISABLE : 0)
  }

  #configureVector(value: number): number {
    const vector = value & 0xffff
    this.#checkVector(vector)
    const disabled = (value & COALESCING_DISABLE) !== 0
    if (disabled) this.#coalescingDisabled.add(vector)
    else this.#coalescingDisabled.delete(vector)
    this.#context.interrupts.setImmediate(vector, disabled)
    return 0
  }

  #checkVector(vector: number): void {
    if (vector >= this.#context.interrupts.count) throw new StatusError(STATUS.INVALID_FIELD)
  }
}

interface FeatureHandler {
  /** @returns dword 0 of the completion @throws StatusError */
  get(command: Command, select: number): number | Promise<number>
  set(command: Command): number | Promise<number>
}

/** Error Recovery is set for a namespace, all others for the controller. */
function isOfNamespace(id: number): boolean {
  return id === FEATURE.ERROR_RECOVERY
}

/** @throws StatusError a feature is not to be set for this namespace */
function checkNamespaceToSet(id: number, nsid: number): void {
  if (nsid === BROADCAST_NSID || (nsid === 0 && !isOfNamespace(id))) return
  if (nsid !== NAMESPACE_ID) throw new StatusError(STATUS.INVALID_NAMESPACE)
  if (!isOfNamespace(id)) throw new StatusError(STATUS.FEATURE_NOT_OF_NAMESPACE)
}

/** As Number of Queues has them: both one less. */
function queuePair(submission: number, completion: number): number {
  return (completion - 1) * 0x1_0000 + submission - 1
}

function hostIdSize({ cdw11 }: Command): number {
  return (cdw11 & EXTENDED_HOST_ID) !== 0 ? 16 : 8
}
