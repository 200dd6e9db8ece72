/** An NVMe controller that is brought up through mdevkit's client as a guest's driver does it, with one pair of I/O queues. */
import { ADMIN, CC, CQES, CREATE, CSTS, REGISTER, SQES } from '../drivers/nvme/spec.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import {
  Client,
  type ClientDoorbells,
  type ClientInterrupts,
  type ClientMemory,
  IRQ,
  REGION,
} from '../src/vfio-user/client.ts'
import { type NvmeCommand, NvmeQueue } from './nvme-queue.ts'

export const PAGE = 4096
/** Where the guest's memory is. */
const IOVA = 2 ** 32
/** Of each I/O queue: more than are ever under way. */
export const ENTRIES = 256
const ADMIN_ENTRIES = 16
const PATIENCE_MS = 10_000
/** PCI Command: memory space, bus master. */
const COMMAND = 0x04
const COMMAND_ENABLE = 0x6

/** Pages of the guest's memory, each from where the one before it ends. */
const PAGES = {
  adminSubmission: 0,
  adminCompletion: 1,
  submission: 2, // 64 bytes each, four pages
  completion: 6,
  values: 7,
  events: 8,
  buffers: 9,
} as const

export interface NvmeControllerOptions {
  /** Pages of data. */
  readonly buffers: number
  /** Whether doorbells are kept in memory, and rung only where the controller wants that. */
  readonly doorbellsInMemory: boolean
}

export class NvmeController implements Disposable {
  readonly interrupts: ClientInterrupts
  /** Its completions come with vector 1. */
  readonly queue: NvmeQueue
  readonly #client: Client
  readonly #admin: NvmeQueue

  /** @throws ENOTSUP its doorbells are not rung by eventfd · EIO it refuses a command · ETIMEDOUT it says nothing */
  static async attach(path: string, options: NvmeControllerOptions): Promise<NvmeController> {
    const client = await Client.attach(path)
    try {
      const interrupts = await client.interrupts(IRQ.msix, 2)
      const memory = await client.map(IOVA, (PAGES.buffers + options.buffers) * PAGE)
      const doorbells = await client.region(REGION.bar0).doorbells()
      const tail = REGISTER.DOORBELLS + 8
      if (!doorbells.byEventfd.some(({ offset }) => offset === tail))
        throw new ErrnoError('ENOTSUP', `${path}: no eventfd for the doorbell at ${tail}`)
      const parts = { client, interrupts, memory, doorbells }
      const controller = new NvmeController(parts, options.doorbellsInMemory)
      await controller.#enable()
      await controller.#configure(options.doorbellsInMemory)
      return controller
    } catch (error) {
      client.detach()
      throw error
    }
  }

  private constructor(
    parts: {
      readonly client: Client
      readonly interrupts: ClientInterrupts
      readonly memory: ClientMemory
      readonly doorbells: ClientDoorbells
    },
    doorbellsInMemory: boolean,
  ) {
    const { client, interrupts, memory, doorbells } = parts
    this.#client = client
    this.interrupts = interrupts
    memory.bytes.fill(0xa5, PAGES.buffers * PAGE)
    this.#admin = new NvmeQueue(0, ADMIN_ENTRIES, memory.bytes, doorbells, {
      submission: PAGES.adminSubmission * PAGE,
      completion: PAGES.adminCompletion * PAGE,
    })
    const shadows = { values: PAGES.values * PAGE, events: PAGES.events * PAGE }
    this.queue = new NvmeQueue(1, ENTRIES, memory.bytes, doorbells, {
      submission: PAGES.submission * PAGE,
      completion: PAGES.completion * PAGE,
      shadows: doorbellsInMemory ? shadows : undefined,
    })
  }

  /** Where a page of data is, for a command. */
  bufferOf(index: number): number {
    return addressOf(PAGES.buffers + index)
  }

  async #enable(): Promise<void> {
    await this.#client.config.writeU16(COMMAND, COMMAND_ENABLE)
    const bar = this.#client.region(REGION.bar0)
    await bar.writeU32(REGISTER.AQA, (ADMIN_ENTRIES - 1) * 0x1_0001)
    await bar.writeU64(REGISTER.ASQ, BigInt(addressOf(PAGES.adminSubmission)))
    await bar.writeU64(REGISTER.ACQ, BigInt(addressOf(PAGES.adminCompletion)))
    const sizes = (SQES << CC.IOSQES_SHIFT) | (CQES << CC.IOCQES_SHIFT)
    await bar.writeU32(REGISTER.CC, CC.EN | sizes)
    const deadline = performance.now() + PATIENCE_MS
    for (;;) {
      const status = await bar.readU32(REGISTER.CSTS)
      if ((status & CSTS.CFS) !== 0) throw new ErrnoError('EIO', 'nvme: fatal status when enabled')
      if ((status & CSTS.RDY) !== 0) return
      if (performance.now() > deadline) throw new ErrnoError('ETIMEDOUT', 'nvme: it is not ready')
      await new Promise((resolve) => setImmediate(resolve))
    }
  }

  async #configure(doorbellsInMemory: boolean): Promise<void> {
    const [prp1, prp2] = [addressOf(PAGES.values), addressOf(PAGES.events)]
    if (doorbellsInMemory) await this.#command({ opcode: ADMIN.DOORBELL_BUFFER_CONFIG, prp1, prp2 })
    const { id } = this.queue
    const cdw10 = (ENTRIES - 1) * 2 ** 16 + id
    await this.#command({
      opcode: ADMIN.CREATE_IO_CQ,
      prp1: addressOf(PAGES.completion),
      cdw10,
      cdw11: 2 ** 16 + (CREATE.IEN | CREATE.PC), // vector 1
    })
    await this.#command({
      opcode: ADMIN.CREATE_IO_SQ,
      prp1: addressOf(PAGES.submission),
      cdw10,
      cdw11: id * 2 ** 16 + CREATE.PC,
    })
  }

  async #command(command: NvmeCommand): Promise<void> {
    this.#admin.put(0, command)
    this.#admin.ring()
    const signal = AbortSignal.timeout(PATIENCE_MS)
    for (;;) {
      await this.interrupts.next(0, { signal })
      const completion = this.#admin.take()
      if (completion === undefined) continue
      this.#admin.acknowledge()
      if (completion.status === 0) return
      throw refused(command.opcode, completion.status)
    }
  }

  [Symbol.dispose](): void {
    this.#client.detach()
  }
}

/** What is thrown where a command failed. */
export function refused(opcode: number, status: number): ErrnoError {
  return new ErrnoError('EIO', `nvme: opcode ${opcode}: status 0x${status.toString(16)}`)
}

function addressOf(page: number): number {
  return IOVA + page * PAGE
}
