/** Dataset Management (6.7): of what guests say about ranges of blocks, that they need them no more is heeded. */
import type { Command } from './command.ts'
import type { IoContext } from './io-commands.ts'
import { StatusError } from './status-error.ts'
import { DSM, STATUS } from './spec.ts'

const TWO_32 = 2 ** 32

interface BlockRange {
  readonly start: number
  readonly count: number
}

type DatasetContext = Pick<IoContext, 'namespace' | 'transfer' | 'longCommands'>

export class DatasetManagement {
  readonly #context: DatasetContext

  constructor(context: DatasetContext) {
    this.#context = context
  }

  /** Begins a command; its ranges are discarded one after the other. */
  begin(command: Command): void {
    if ((command.cdw11 & DSM.AD) === 0) command.succeed() // a hint that changes nothing
    else this.#context.longCommands.run(command, async () => this.#run(command))
  }

  /** @throws StatusError · what the disk says */
  async #run(command: Command): Promise<void> {
    const { namespace, transfer, longCommands } = this.#context
    const list = new DataView(new ArrayBuffer(((command.cdw10 & DSM.NR) + 1) * DSM.RANGE_SIZE))
    await transfer.fromGuest(command, new Uint8Array(list.buffer))
    const ranges = rangesOf(list)
    if (!ranges.every(({ start, count }) => namespace.has(start, count)))
      throw new StatusError(STATUS.LBA_OUT_OF_RANGE)
    const { blockSize } = namespace
    for (const { start, count } of ranges)
      if (count > 0)
        await longCommands.clear(command, 'discard', start * blockSize, count * blockSize)
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
