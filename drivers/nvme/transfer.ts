/** Data of commands that we make or look at ourselves: copied between guest memory and here. */
import { ErrnoError, type Dma } from 'mdevkit'
import type { Command } from './command.ts'
import type { DataPointers } from './data-pointer.ts'
import { StatusError } from './status-error.ts'
import { STATUS } from './spec.ts'

export class Transfer {
  readonly #dma: Dma
  readonly #pointers: DataPointers

  constructor(dma: Dma, pointers: DataPointers) {
    this.#dma = dma
    this.#pointers = pointers
  }

  /** Copies the command's data. @throws StatusError the guest's memory is not where it says. Never ends once the queue is closed */
  async fromGuest(command: Command, bytes: Uint8Array): Promise<void> {
    await this.#resolve(command, bytes.length)
    await checked(() => this.#dma.readList(command.data.list, bytes))
    checkOpen(command)
  }

  /** As {@link fromGuest}, the other way. */
  async toGuest(command: Command, bytes: Uint8Array): Promise<void> {
    await this.#resolve(command, bytes.length)
    await checked(() => this.#dma.writeList(command.data.list, bytes))
  }

  async #resolve(command: Command, length: number): Promise<void> {
    const status = await new Promise<number>((resolve) =>
      this.#pointers.resolve(command, length, (_, status) => resolve(status)),
    )
    if (status !== STATUS.SUCCESS) throw new StatusError(status)
    checkOpen(command)
  }
}

/** A guest that reset the controller meanwhile has other uses for its memory, and waits for nothing that begins now. */
function checkOpen(command: Command): void {
  if (command.queue.closed) throw new StatusError(STATUS.ABORT_REQUESTED)
}

async function checked(access: () => void | Promise<void>): Promise<void> {
  try {
    await access()
  } catch (error) {
    if (error instanceof ErrnoError) throw new StatusError(STATUS.DATA_TRANSFER_ERROR)
    throw error
  }
}
