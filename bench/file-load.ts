/** Blocks of a file itself, by what drivers use: the same engine, and no device. */
import { alignedBlock, AsyncFile, type ErrnoError } from '../src/index.ts'
import {
  BLOCK_SIZE,
  type BlockFigures,
  type BlockLoad,
  type BlockLoadOptions,
} from './block-load.ts'
import { PagePlaces } from './dma-places.ts'

export class FileLoad implements BlockLoad {
  readonly #file: AsyncFile
  readonly #options: BlockLoadOptions
  readonly #places: PagePlaces

  /** @throws as opening it does */
  constructor(path: string, options: BlockLoadOptions) {
    this.#file = new AsyncFile(path)
    this.#options = options
    this.#places = new PagePlaces(options.size, BLOCK_SIZE)
  }

  async run(ms: number): Promise<BlockFigures> {
    const { access, depth } = this.#options
    const began = performance.now()
    const ends = began + ms
    let count = 0
    let failed: ErrnoError | undefined
    const move = (slot: () => void, memory: ReturnType<typeof alignedBlock>) => {
      const position = this.#places.next()
      if (access === 'read') this.#file.read(position, memory, BLOCK_SIZE, slot)
      else this.#file.write(position, memory, BLOCK_SIZE, slot)
    }
    for (let i = 0; i < depth; i++) {
      const memory = alignedBlock(BLOCK_SIZE)
      memory.bytes.fill(0xa5)
      const done = (error?: ErrnoError) => {
        count++
        failed ??= error
        if (failed !== undefined || performance.now() >= ends) return
        move(done, memory)
        this.#file.submit()
      }
      move(done, memory)
    }
    this.#file.submit()
    await this.#file.idle()
    if (failed !== undefined) throw failed
    return { count, ms: performance.now() - began, rings: 0 }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close()
  }
}
