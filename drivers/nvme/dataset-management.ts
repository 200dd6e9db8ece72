/** Dataset Management (6.7): of what guests say about ranges of blocks, that they need them no more is heeded. */
import type { Command } from './command.ts'
import { statusOfDisk } from './disk-status.ts'
import type { IoContext } from './io-commands.ts'
import { StatusError } from './status-error.ts'
import { DSM, STATUS } from './spec.ts'

const TWO_32 = 2 ** 32

interface BlockRange {
  readonly start: number
  readonly count: number
}

export class DatasetManagement {
  readonly #context: Pick<IoContext, 'namespace' | 'transfer' | 'work'>

  constructor(context: Pick<IoContext, 'namespace' | 'transfer' | 'work'>) {
    this.#context = context
  }

  /** Begins a command; its ranges are discarded one after the other. */
  begin(command: Command): void {
    if ((command.cdw11 & DSM.AD) === 0) command.succeed() // a hint that changes nothing
    else void this.#run(command)
  }

  async #run(command: Command): Promise<void> {
    try {
      const list = new DataView(new ArrayBuffer(((command.cdw10 & DSM.NR) + 1) * DSM.RANGE_SIZE))
      await this.#context.transfer.fromGuest(command, new Uint8Array(list.buffer))
      const ranges = rangesOf(list)
      const { namespace } = this.#context
      if (!ranges.every(({ start, count }) => namespace.has(start, count)))
        throw new StatusError(STATUS.LBA_OUT_OF_RANGE)
      for (const range of ranges) await this.#discard(range, command)
      command.succeed()
    } catch (error) {
      command.refuse(error instanceof StatusError ? error.status : STATUS.INTERNAL_ERROR)
    }
    this.#context.work()
  }

  /** @throws StatusError */
  async #discard({ start, count }: BlockRange, command: Command): Promise<void> {
    if (count === 0) return
    if (command.queue.closed) throw new StatusError(STATUS.ABORT_REQUESTED)
    const { slice, blockSize } = this.#context.namespace
    await new Promise<void>((resolve, reject) => {
      slice.discard(start * blockSize, count * blockSize, (error) => {
        if (error === undefined) resolve()
        else reject(new StatusError(statusOfDisk(error, 'write')))
      })
      this.#context.work()
    })
  }
}

function rangesOf(list: DataView): BlockRange[] {
  const ranges: BlockRange[] = []
  for (let at = 0; at < list.byteLength; at += DSM.RANGE_SIZE) {
    const count = list.getUint32(at + 4, true)
    const start = list.getUint32(at + 12, true) * TWO_32 + list.getUint32(at + 8, true)
    ranges.push({ start, count })
  }
  return ranges
}
