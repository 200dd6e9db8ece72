/** Data pointers of commands: PRPs and SGLs (4.3, 4.4), to the places of guest memory that they mean. */
import { ErrnoError, type Dma } from 'mdevkit'
import type { Command } from './command.ts'
import { LIST_SIZE, type ReadList, type Resolved } from './descriptor-list.ts'
import { PrpWalk } from './prp.ts'
import { SglWalk } from './sgl.ts'
import { CDW0, STATUS } from './spec.ts'

export class DataPointers {
  readonly #dma: Dma
  readonly #prp: PrpWalk
  readonly #sgl: SglWalk
  /** Lists are read into it, one at a time. */
  #list = new DataView(new ArrayBuffer(LIST_SIZE))

  /** @param pageSize of PRPs, bytes: 4096 to 65536 */
  constructor(dma: Dma, pageSize: number) {
    this.#dma = dma
    const read: ReadList = (command, iova, length, next, failed) =>
      this.#read(command, iova, length, next, failed)
    this.#prp = new PrpWalk(pageSize, read)
    this.#sgl = new SglWalk(read)
  }

  /**
   * Fills `command.data` with exactly `length` bytes of guest memory, which may not be mapped.
   *
   * @param next called at once where lists are in memory that is mapped here, else later; never for a command whose queue was
   *             closed meanwhile
   */
  resolve(command: Command, length: number, next: Resolved): void {
    command.data.clear()
    if (command.psdt === 0) this.#prp.resolve(command, length, next)
    else if (command.psdt === CDW0.PSDT_RESERVED) next(command, STATUS.INVALID_FIELD)
    else this.#sgl.resolve(command, length, next)
  }

  #read(
    command: Command,
    iova: number,
    length: number,
    next: (list: DataView) => void,
    failed: (status: number) => void,
  ): void {
    const list = this.#list
    let under: void | Promise<void>
    try {
      under = this.#dma.read(iova, new Uint8Array(list.buffer, 0, length))
    } catch (error) {
      failed(statusOf(error))
      return
    }
    if (under === undefined) {
      next(list)
      return
    }
    this.#list = new DataView(new ArrayBuffer(LIST_SIZE)) // the other one goes with the read that is under way
    under.then(
      () => command.queue.closed || next(list),
      (error: unknown) => command.queue.closed || failed(statusOf(error)),
    )
  }
}

/** The guest named memory that is not there, or not for this. */
function statusOf(error: unknown): number {
  if (!(error instanceof ErrnoError)) throw error
  return STATUS.DATA_TRANSFER_ERROR
}
