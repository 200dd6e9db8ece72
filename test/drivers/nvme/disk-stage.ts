/** A controller on a slice of a real image, served, whose disk can be held up. */
import { nvmeFunction } from '../../../drivers/nvme/function.ts'
import type { Slice, SliceOptions } from '../../../drivers/nvme/disk.ts'
import { defineDriver } from '../../../src/mdev/driver.ts'
import type { AsyncFile, FileDone } from '../../../src/os/async-file.ts'
import { Served } from '../../support/vfio-user-served.ts'
import { DiskSetup } from './disk-guest.ts'

export interface DiskStageOptions extends Partial<Omit<SliceOptions, 'size' | 'dma' | 'onBatch'>> {
  readonly sizeMib: number
  /** Of the image before the slice. */
  readonly beforeMib?: number
  /** Of the image after it. */
  readonly afterMib?: number
  readonly engine?: 'io_uring' | 'threads'
  readonly path?: string
}

export class DiskStage implements AsyncDisposable {
  readonly served: Served
  readonly setup: DiskSetup
  readonly slice: Slice

  private constructor(served: Served, setup: DiskSetup, slice: Slice) {
    this.served = served
    this.setup = setup
    this.slice = slice
  }

  static async start(options: DiskStageOptions): Promise<DiskStage> {
    const { sizeMib, beforeMib = 0, afterMib = 0, engine, path, ...rest } = options
    const setup = new DiskSetup(beforeMib + sizeMib + afterMib, {
      ...(engine === undefined ? {} : { engine }),
      ...(path === undefined ? {} : { path }),
    })
    if (beforeMib > 0) setup.open(1, beforeMib)
    let slice: Slice | undefined
    const driver = defineDriver({
      name: 'nvme-test',
      types: { 1: {} },
      probe(mdev) {
        const { clock } = setup
        return nvmeFunction(
          mdev,
          { serial: 'S1', blockSize: 512, queues: 4, clock },
          ({ onBatch }) => {
            slice = setup.open(2, sizeMib, { dma: mdev.dma, onBatch, ...rest })
            return slice
          },
        )
      },
    })
    return new DiskStage(await Served.start(driver), setup, slice!)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.served[Symbol.dispose]()
    await this.setup[Symbol.asyncDispose]()
  }
}

/** One request that a {@link Gate} has. */
export interface HeldClear {
  readonly position: number
  readonly length: number
  /** Lets the file have it. */
  go(): void
}

/** Stands before a file, and has its requests for zeros wait until the test lets them go. */
export class Gate {
  readonly held: HeldClear[] = []
  /** All that came, held or gone. */
  readonly seen: { readonly position: number; readonly length: number }[] = []
  #isOpen = false

  constructor(file: AsyncFile) {
    for (const how of ['discard', 'zero'] as const) {
      const begin = file[how].bind(file)
      file[how] = (position: number, length: number, done: FileDone) => {
        this.seen.push({ position, length })
        const go = () => {
          begin(position, length, done)
          file.submit()
        }
        if (this.#isOpen) begin(position, length, done)
        else this.held.push({ position, length, go })
      }
    }
  }

  /** Lets the next one go. */
  step(): void {
    this.held.shift()!.go()
  }

  /** Lets all go, now and later. */
  open(): void {
    this.#isOpen = true
    for (const request of this.held.splice(0)) request.go()
  }
}
