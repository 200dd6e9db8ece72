/** The admin command set (5): a table from opcode to what is done. */
import { ErrnoError, type Dma, type Logger } from 'mdevkit'
import { type AsyncEvents } from './async-events.ts'
import type { Command } from './command.ts'
import { endBadly } from './command-error.ts'
import type { Features } from './features.ts'
import {
  activeNamespaces,
  type ControllerIdentity,
  type ControllerLimits,
  identifyController,
  identifyNamespace,
  namespaceDescriptors,
} from './identify.ts'
import { logPage, type LogContext } from './log-pages.ts'
import type { LongCommands } from './long-commands.ts'
import { type Namespace, NAMESPACE_ID } from './namespace.ts'
import type { QueueRequest, Queues } from './queues.ts'
import { ADMIN, BROADCAST_NSID, CNS, FORMAT, STATUS } from './spec.ts'
import { StatusError } from './status-error.ts'
import type { Transfer } from './transfer.ts'

export interface AdminContext {
  readonly dma: Dma
  readonly log: Logger
  readonly identity: ControllerIdentity
  readonly limits: ControllerLimits
  readonly namespace: Namespace
  readonly logs: LogContext
  readonly events: AsyncEvents
  readonly features: Features
  readonly transfer: Transfer
  readonly longCommands: LongCommands
  /** Bytes; Doorbell Buffer Config is aligned to it. */
  readonly pageSize: number
  /** Most bytes of one transfer. */
  readonly maxTransfer: number
  readonly queues: () => Queues
  /** There is something to do. */
  readonly work: () => void
}

/** Dword 0 of the completion; 'later' where the command ends by itself. */
type Answer = number | 'later'
type Handler = (command: Command) => Answer | Promise<Answer>

export class AdminCommands {
  readonly #context: AdminContext
  readonly #handlers: Readonly<Record<number, Handler>>

  constructor(context: AdminContext) {
    this.#context = context
    const { features, events, queues } = context
    this.#handlers = {
      [ADMIN.DELETE_IO_SQ]: async (command) => {
        await queues().deleteSubmission(command)
        return 0
      },
      [ADMIN.CREATE_IO_SQ]: (command) => {
        queues().createSubmission(queueRequest(command))
        return 0
      },
      [ADMIN.GET_LOG_PAGE]: async (command) => this.#getLogPage(command),
      [ADMIN.DELETE_IO_CQ]: (command) => {
        queues().deleteCompletion(command)
        return 0
      },
      [ADMIN.CREATE_IO_CQ]: (command) => {
        queues().createCompletion(queueRequest(command))
        return 0
      },
      [ADMIN.IDENTIFY]: async (command) => this.#identify(command),
      [ADMIN.ABORT]: async (command) => this.#abort(command),
      [ADMIN.SET_FEATURES]: async (command) => features.set(command),
      [ADMIN.GET_FEATURES]: async (command) => features.get(command),
      [ADMIN.ASYNC_EVENT_REQUEST]: (command) => {
        events.request(command)
        return 'later'
      },
      [ADMIN.DOORBELL_BUFFER_CONFIG]: async (command) => this.#configureDoorbells(command),
      [ADMIN.FORMAT_NVM]: (command) => this.#format(command),
    }
  }

  /** Begins a command. It ends by itself. */
  execute(command: Command): void {
    void this.#run(command)
  }

  async #run(command: Command): Promise<void> {
    try {
      const handler = this.#handlers[command.opcode]
      if (handler === undefined) throw new StatusError(STATUS.INVALID_OPCODE)
      // over PCIe, admin commands use PRPs
      if (command.fused || command.psdt !== 0) throw new StatusError(STATUS.INVALID_FIELD)
      const answer = await handler(command)
      if (answer !== 'later') command.succeed(answer)
    } catch (error) {
      const { log, logs } = this.#context
      endBadly(command, error, 'write', { log, statistics: logs.statistics })
    }
    this.#context.work()
  }

  async #identify(command: Command): Promise<number> {
    await this.#context.transfer.toGuest(command, this.#identity(command))
    return 0
  }

  #identity({ cdw10, nsid }: Command): Uint8Array {
    const { identity, limits, namespace } = this.#context
    switch (cdw10 & 0xff) {
      case CNS.NAMESPACE:
        this.#checkNamespace(nsid)
        return identifyNamespace(namespace)
      case CNS.CONTROLLER:
        return identifyController(identity, limits)
      case CNS.ACTIVE_NAMESPACES:
        if (nsid >= BROADCAST_NSID - 1) throw new StatusError(STATUS.INVALID_NAMESPACE)
        return activeNamespaces(nsid)
      case CNS.NAMESPACE_DESCRIPTORS:
        this.#checkNamespace(nsid)
        return namespaceDescriptors(identity.uuid)
      default:
        throw new StatusError(STATUS.INVALID_FIELD)
    }
  }

  async #getLogPage(command: Command): Promise<number> {
    const { cdw10, cdw11, cdw12, cdw13, nsid } = command
    if (nsid !== 0 && nsid !== BROADCAST_NSID) this.#checkNamespace(nsid)
    const log = cdw10 & 0xff
    const content = logPage(log, this.#context.logs)
    if (content === undefined) throw new StatusError(STATUS.INVALID_LOG_PAGE)
    const dwords = (cdw11 & 0xffff) * 0x1_0000 + (cdw10 >>> 16) + 1
    const offset = cdw13 * 2 ** 32 + cdw12
    if (4 * dwords > this.#context.maxTransfer || offset % 4 !== 0 || offset > content.length)
      throw new StatusError(STATUS.INVALID_FIELD)
    // no more than there is: what lies beyond is not defined
    await this.#context.transfer.toGuest(command, content.subarray(offset, offset + 4 * dwords))
    const retainsEvent = (cdw10 & (1 << 15)) !== 0
    if (!retainsEvent) this.#context.events.wasRead(log)
    return 0
  }

  /** Of what the disk has begun, only what takes long is called off. @returns 1: it was not aborted */
  async #abort({ cdw10 }: Command): Promise<number> {
    const { events, longCommands } = this.#context
    const [queue, id] = [cdw10 & 0xffff, cdw10 >>> 16]
    if (queue === 0 && events.abort(id)) return 0
    return (await longCommands.abort(queue, id)) ? 0 : 1
  }

  async #configureDoorbells(command: Command): Promise<number> {
    const { dma, pageSize, queues } = this.#context
    const buffers = { shadows: command.address(0), eventIndexes: command.address(1) }
    if (buffers.shadows % pageSize !== 0 || buffers.eventIndexes % pageSize !== 0)
      throw new StatusError(STATUS.INVALID_FIELD)
    try {
      for (const address of Object.values(buffers)) {
        const found = dma.readU32(address)
        if (typeof found === 'number') continue
        await found
        throw new StatusError(STATUS.INVALID_FIELD) // asking for it would be slower than a doorbell
      }
      queues().setShadows(buffers)
    } catch (error) {
      if (error instanceof ErrnoError) throw new StatusError(STATUS.DATA_TRANSFER_ERROR)
      throw error
    }
    return 0
  }

  /** All of the slice reads as zeros then. @throws StatusError */
  #format(command: Command): 'later' {
    const { namespace, longCommands } = this.#context
    const { slice } = namespace
    if (command.nsid !== BROADCAST_NSID) this.#checkNamespace(command.nsid)
    const erase = (command.cdw10 >>> FORMAT.SES_SHIFT) & FORMAT.SES
    if ((command.cdw10 & (FORMAT.LBAF | FORMAT.PI)) !== 0)
      throw new StatusError(STATUS.INVALID_FORMAT)
    if (erase !== FORMAT.SES_NONE && erase !== FORMAT.SES_USER_DATA)
      throw new StatusError(STATUS.INVALID_FIELD)
    if (slice.readOnly) throw new StatusError(STATUS.NAMESPACE_WRITE_PROTECTED)
    if (namespace.formatting) throw new StatusError(STATUS.FORMAT_IN_PROGRESS)
    namespace.formatting = true
    longCommands.run(command, async () => {
      try {
        await longCommands.clear(command, 'discard', 0, slice.size)
      } finally {
        namespace.formatting = false
      }
    })
    return 'later'
  }

  #checkNamespace(nsid: number): void {
    if (nsid !== NAMESPACE_ID) throw new StatusError(STATUS.INVALID_NAMESPACE)
  }
}

function queueRequest(command: Command): QueueRequest {
  const { cdw10, cdw11 } = command
  return { cdw10, cdw11, address: command.address(0) }
}
