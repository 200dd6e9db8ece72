/** A disk and guests of it without a controller: slices, and memory that they read from and write to. */
import { truncateSync } from 'node:fs'
import { ErrnoError } from '../../../src/lib/errno.ts'
import { createLogger } from '../../../src/lib/log.ts'
import { DmaGate } from '../../../src/device/dma.ts'
import { Container } from '../../../src/iommu/container.ts'
import { createMemfd } from '../../../src/os/memfd.ts'
import type { Slice, SliceOptions } from '../../../drivers/nvme/disk.ts'
import { Image, type ImageOptions } from '../../../drivers/nvme/image.ts'
import { SlicedDisk } from '../../../drivers/nvme/sliced-disk.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import { Scratch } from '../../support/scratch.ts'

export const MIB = 2 ** 20

export function uuidOf(n: number): string {
  return `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`
}

/** Memory of a guest, from IOVA 0 on. */
export class Memory implements Disposable {
  readonly #container = new Container({ maxMaps: 16, remote: refusing })
  readonly dma = new DmaGate(() => true)
  readonly size: number

  constructor(size = 2 * MIB) {
    this.size = size
    const fd = createMemfd('guest', size)
    this.#container.map({ iova: 0, size, readable: true, writable: true, file: { fd, offset: 0 } })
    this.dma.memory = this.#container.memory
  }

  fill(bytes: Uint8Array, at = 0): void {
    void this.dma.write(at, bytes)
  }

  sees(length: number, at = 0): Buffer {
    const bytes = Buffer.alloc(length)
    void this.dma.read(at, bytes)
    return bytes
  }

  [Symbol.dispose](): void {
    this.#container.close()
  }
}

const refusing = {
  read: async () => Promise.reject(new ErrnoError('EFAULT', 'no remote memory')),
  write: async () => Promise.reject(new ErrnoError('EFAULT', 'no remote memory')),
}

/** A disk in a scratch directory, opened as often as is wanted. */
export class DiskSetup implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly path: string
  readonly recordPath: string
  readonly clock = new FakeClock()
  readonly memory = new Memory()
  /** Of the disk's log. */
  readonly lines: string[] = []
  readonly #options: Partial<ImageOptions>
  #disk: SlicedDisk | undefined
  #image: Image | undefined

  constructor(sizeMib: number, options: Partial<ImageOptions> = {}) {
    this.path = this.scratch.write('disk.img', '')
    truncateSync(this.path, sizeMib * MIB)
    this.recordPath = `${this.path}.slices.json`
    this.#options = options
  }

  get disk(): SlicedDisk {
    return (this.#disk ??= this.#openDisk())
  }

  /** Of the disk that was opened last. */
  get image(): Image {
    void this.disk
    return this.#image!
  }

  #openDisk(): SlicedDisk {
    const image = new Image({ path: this.path, direct: false, flushes: true, ...this.#options })
    this.#image = image
    const { recordPath, clock } = this
    const log = createLogger('warn', (line) => this.lines.push(line))
    return new SlicedDisk({ image, recordPath, clock, log })
  }

  open(n: number, sizeMib: number, options: Partial<SliceOptions> = {}): Slice {
    return this.disk.open(uuidOf(n), {
      dma: this.memory.dma,
      size: sizeMib * MIB,
      readOnly: false,
      limits: { bandwidth: 0, iops: 0 },
      onBatch: () => undefined,
      ...options,
    })
  }

  async closeDisk(): Promise<void> {
    await this.#disk?.close()
    this.#disk = undefined
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.closeDisk()
    this.memory[Symbol.dispose]()
    this.scratch[Symbol.dispose]()
  }
}

/** One request, from its beginning to its end. */
export function io(slice: Slice, begin: (done: (error?: Error) => void) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    begin((error) => {
      if (error === undefined) resolve()
      else reject(error)
    })
    slice.submit()
  })
}
