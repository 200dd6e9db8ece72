/** Jobs of a driver that reads a file straight into guest memory. */
import { closeSync, fstatSync, openSync } from 'node:fs'
import { ErrnoError } from '../src/lib/errno.ts'
import { timeBatches } from './dma-batches.ts'
import { IOVA } from './dma-driver.ts'
import type { GuestMemory, Job } from './dma-jobs.ts'
import { PagePlaces } from './dma-places.ts'

/** `file-sync LENGTH COUNT PATH` */
export const fileSync: Job = async (guest, batches, [length, count, path]) => {
  using pieces = new Pieces(guest, Number(length), path!)
  const parts = Number(count)
  const work = () => {
    for (let i = 0; i < parts; i++) pieces.moveSync()
  }
  return await timeBatches(batches, { parts, work })
}

/** `file-async UNDER-WAY LENGTH COUNT PATH` */
export const fileAsync: Job = async (guest, batches, [underWay, length, count, path]) => {
  using pieces = new Pieces(guest, Number(length), path!)
  const parts = Number(count)
  const work = async () => {
    let left = parts
    const mover = async () => {
      while (left-- > 0) await pieces.move()
    }
    await Promise.all(Array.from({ length: Number(underWay) }, mover))
  }
  return await timeBatches(batches, { parts, work })
}

/** An open file, of which pieces from random places go to random places of the guest's memory. */
class Pieces implements Disposable {
  readonly #guest: GuestMemory
  readonly #length: number
  readonly #fd: number
  readonly #places: PagePlaces

  constructor(guest: GuestMemory, length: number, path: string) {
    this.#guest = guest
    this.#length = length
    this.#fd = openSync(path, 'r')
    this.#places = new PagePlaces(fstatSync(this.#fd).size, length)
  }

  moveSync(): void {
    const list = this.#next()
    this.#check(this.#guest.dma.writeFromFileSync(list, this.#fd, this.#places.next()))
  }

  async move(): Promise<void> {
    const list = this.#next()
    this.#check(await this.#guest.dma.writeFromFile(list, this.#fd, this.#places.next()))
  }

  #next(): { iova: number; length: number }[] {
    return [{ iova: IOVA + this.#places.next(), length: this.#length }]
  }

  #check(moved: number): void {
    if (moved !== this.#length)
      throw new ErrnoError('EIO', `file: ${moved} bytes of ${this.#length} came`)
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
  }
}
