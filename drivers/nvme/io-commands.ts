/** The NVM command set (6): what guests do to blocks. */
import type { ErrnoError, Logger } from 'mdevkit'
import type { Command } from './command.ts'
import { failOnDisk } from './command-error.ts'
import { Compare } from './compare.ts'
import type { DataPointers } from './data-pointer.ts'
import type { Resolved } from './descriptor-list.ts'
import { DatasetManagement } from './dataset-management.ts'
import type { DiskAccess } from './disk-status.ts'
import type { LongCommands } from './long-commands.ts'
import { type Namespace, NAMESPACE_ID } from './namespace.ts'
import { BROADCAST_NSID, NVM, RW, STATUS } from './spec.ts'
import type { Statistics } from './statistics.ts'
import type { Transfer } from './transfer.ts'

/** What the commands work with. */
export interface IoContext {
  readonly log: Logger
  readonly namespace: Namespace
  readonly statistics: Statistics
  readonly pointers: DataPointers
  readonly transfer: Transfer
  readonly longCommands: LongCommands
  /** Most bytes of one transfer. */
  readonly maxTransfer: number
  /** Whether what was written may be lost by a power cut before it is flushed. */
  readonly writeCache: () => boolean
  /** There is something to hand to the disk. */
  readonly work: () => void
}

export class IoCommands {
  readonly #context: IoContext
  readonly #compare: Compare
  readonly #dataset: DatasetManagement

  constructor(context: IoContext) {
    this.#context = context
    this.#compare = new Compare(context)
    this.#dataset = new DatasetManagement(context)
  }

  /** Begins a command. It ends by itself. */
  execute(command: Command): void {
    if (command.fused) {
      command.refuse(STATUS.INVALID_FIELD)
      return
    }
    switch (command.opcode) {
      case NVM.READ:
        if (this.#isForBlocks(command, true)) this.#resolve(command, this.#read)
        break
      case NVM.WRITE:
        if (this.#isForBlocks(command, true) && this.#mayWrite(command))
          this.#resolve(command, this.#write)
        break
      case NVM.FLUSH:
        if (this.#isForNamespace(command, true)) this.#flush(command)
        break
      case NVM.COMPARE:
        if (this.#isForBlocks(command, true)) this.#compare.begin(command)
        break
      case NVM.WRITE_ZEROES:
        if (this.#isForBlocks(command, false) && this.#mayWrite(command)) this.#zero(command)
        break
      case NVM.DATASET_MANAGEMENT:
        if (this.#isForNamespace(command) && this.#mayWrite(command)) this.#dataset.begin(command)
        break
      default:
        command.refuse(STATUS.INVALID_OPCODE)
    }
  }

  #isForNamespace(command: Command, broadcast = false): boolean {
    const { namespace } = this.#context
    const isOurs = command.nsid === NAMESPACE_ID || (broadcast && command.nsid === BROADCAST_NSID)
    if (!isOurs) command.refuse(STATUS.INVALID_NAMESPACE)
    else if (namespace.formatting) command.fail(STATUS.FORMAT_IN_PROGRESS)
    return isOurs && !namespace.formatting
  }

  /** Sets `offset` and `length` where the blocks are there. @param limited whether data is transferred */
  #isForBlocks(command: Command, limited: boolean): boolean {
    if (!this.#isForNamespace(command)) return false
    const { namespace, maxTransfer } = this.#context
    const length = command.blockCount * namespace.blockSize
    if (limited && length > maxTransfer) {
      command.refuse(STATUS.INVALID_FIELD)
      return false
    }
    if (!namespace.has(command.startBlock, command.blockCount)) {
      command.refuse(STATUS.LBA_OUT_OF_RANGE)
      return false
    }
    command.offset = command.startBlock * namespace.blockSize
    command.length = length
    return true
  }

  #mayWrite(command: Command): boolean {
    const { readOnly } = this.#context.namespace.slice
    if (readOnly) command.refuse(STATUS.NAMESPACE_WRITE_PROTECTED)
    return !readOnly
  }

  #resolve(command: Command, next: Resolved): void {
    this.#context.pointers.resolve(command, command.length, next)
  }

  #read: Resolved = (command, status) => {
    if (status !== STATUS.SUCCESS) {
      command.refuse(status)
      return
    }
    command.next = this.#hasRead
    this.#context.namespace.slice.read(
      command.offset,
      command.data.list,
      command.onDisk,
      command.isWanted,
    )
    this.#context.work()
  }

  #hasRead = (command: Command, error?: ErrnoError): void => {
    if (error !== undefined) {
      this.#failed(command, error, 'read')
      return
    }
    this.#context.statistics.countRead(command.length)
    command.succeed()
  }

  #write: Resolved = (command, status) => {
    if (status !== STATUS.SUCCESS) {
      command.refuse(status)
      return
    }
    command.next = this.#hasWritten
    this.#context.namespace.slice.write(
      command.offset,
      command.data.list,
      command.onDisk,
      command.isWanted,
    )
    this.#context.work()
  }

  #hasWritten = (command: Command, error?: ErrnoError): void => {
    if (error === undefined) this.#context.statistics.countWrite(command.length)
    this.#changed(command, error)
  }

  #flush(command: Command): void {
    // what cannot be written has nothing to flush
    if (this.#context.namespace.slice.readOnly) command.succeed()
    else {
      command.next = this.#hasFlushed
      this.#context.namespace.slice.flush(command.onDisk)
      this.#context.work()
    }
  }

  #hasFlushed = (command: Command, error?: ErrnoError): void => {
    if (error === undefined) command.succeed()
    else this.#failed(command, error, 'write')
  }

  #zero(command: Command): void {
    const { longCommands } = this.#context
    const how = (command.cdw12 & RW.DEAC) !== 0 ? 'discard' : 'zero'
    longCommands.run(
      command,
      async () => longCommands.clear(command, how, command.offset, command.length),
      () => this.#changed(command),
    )
  }

  /** Blocks have changed; where the guest wants to be sure of it, they are flushed. */
  #changed = (command: Command, error?: ErrnoError): void => {
    if (error !== undefined) this.#failed(command, error, 'write')
    else if ((command.cdw12 & RW.FUA) !== 0 || !this.#context.writeCache()) this.#flush(command)
    else command.succeed()
  }

  #failed(command: Command, error: ErrnoError, access: DiskAccess): void {
    failOnDisk(command, error, access, this.#context)
  }
}
