/** Blocks of a disk behind an NVMe controller, which is kept busy as by a guest's driver, without a guest. */
import { NVM } from '../drivers/nvme/spec.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import {
  BLOCK_SIZE,
  type BlockFigures,
  type BlockLoad,
  type BlockLoadOptions,
} from './block-load.ts'
import { PagePlaces } from './dma-places.ts'
import { ENTRIES, NvmeController, refused } from './nvme-controller.ts'

const SECTOR = 512
/** A load that takes so much longer than it should hangs. */
const PATIENCE_MS = 10_000

export class NvmeLoad implements BlockLoad {
  readonly #controller: NvmeController
  readonly #opcode: number
  readonly #depth: number
  readonly #places: PagePlaces

  /** @throws EINVAL more than the queue takes · as {@link NvmeController.attach} */
  static async attach(
    path: string,
    options: BlockLoadOptions,
    doorbellsInMemory: boolean,
  ): Promise<NvmeLoad> {
    const buffers = options.depth
    if (buffers >= ENTRIES)
      throw new ErrnoError('EINVAL', `depth ${buffers}: less than ${ENTRIES} may be under way`)
    return new NvmeLoad(await NvmeController.attach(path, { buffers, doorbellsInMemory }), options)
  }

  private constructor(controller: NvmeController, { access, depth, size }: BlockLoadOptions) {
    this.#controller = controller
    this.#opcode = access === 'read' ? NVM.READ : NVM.WRITE
    this.#depth = depth
    this.#places = new PagePlaces(size, BLOCK_SIZE)
  }

  async run(ms: number): Promise<BlockFigures> {
    const { queue, interrupts } = this.#controller
    const rings = queue.rings
    const began = performance.now()
    const ended = new AbortController()
    const late = AbortSignal.timeout(ms + PATIENCE_MS)
    const signal = AbortSignal.any([late, ended.signal])
    const failed = (async (): Promise<never> => {
      for (;;) await interrupts.next(0, { signal }) // nothing comes there, but the end of the connection
    })()
    let stop = (): void => {}
    const done = new Promise<number>((resolve, reject) => {
      let count = 0
      let underWay = this.#depth
      const take = () => {
        const isOver = performance.now() >= began + ms
        const before = count
        for (let end = queue.take(); end !== undefined; end = queue.take()) {
          count++
          if (end.status !== 0) reject(refused(this.#opcode, end.status))
          if (isOver || end.status !== 0) underWay--
          else this.#put(end.id)
        }
        if (count === before) return
        queue.acknowledge()
        if (underWay === 0) resolve(count)
        else if (!isOver) queue.ring()
      }
      stop = interrupts.vector(1).onInterrupt(take)
    })
    for (let id = 0; id < this.#depth; id++) this.#put(id)
    queue.ring()
    try {
      const count = await Promise.race([done, failed])
      return { count, ms: performance.now() - began, rings: queue.rings - rings }
    } finally {
      stop()
      ended.abort()
      failed.catch(() => {}) // that it was ended
      done.catch(() => {}) // after `failed`
    }
  }

  #put(id: number): void {
    this.#controller.queue.put(id, {
      opcode: this.#opcode,
      nsid: 1,
      prp1: this.#controller.bufferOf(id),
      cdw10: this.#places.next() / SECTOR,
      cdw12: BLOCK_SIZE / SECTOR - 1,
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#controller[Symbol.dispose]()
  }
}
