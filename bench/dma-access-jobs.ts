/** Jobs that a driver could do: they use its `mdev.dma`, the gate included, and the memory that the client mapped by message. */
import { timeBatches } from './dma-batches.ts'
import { IOVA } from './dma-driver.ts'
import type { Job } from './dma-jobs.ts'
import { PagePlaces } from './dma-places.ts'
import { quantile } from './statistics.ts'

const PAGE = 4096

/** `touch`: every page once, so that the page table is filled before anything is timed. */
export const touch: Job = async ({ dma, size }) => {
  const byte = new Uint8Array(1)
  for (let iova = IOVA; iova < IOVA + size; iova += PAGE) {
    await dma.read(iova, byte)
    await dma.write(iova, byte)
  }
  return {}
}

/** `copy read|write LENGTH COUNT` */
export const copy: Job = async ({ dma, size }, batches, [way, ...words]) => {
  const [length, count] = words.map(Number) as [number, number]
  const local = new Uint8Array(length)
  const places = new PagePlaces(size, length)
  // mapped, so done on return
  const read = () => {
    for (let i = 0; i < count; i++) void dma.read(IOVA + places.next(), local)
  }
  const write = () => {
    for (let i = 0; i < count; i++) void dma.write(IOVA + places.next(), local)
  }
  return await timeBatches(batches, { parts: count, work: way === 'read' ? read : write })
}

/** `pin PAGES COUNT`: pins and unpins of so many neighbours. @returns ns of one page */
export const pin: Job = async ({ dma, size }, batches, words) => {
  const [pages, count] = words.map(Number) as [number, number]
  const places = new PagePlaces(size, pages * PAGE)
  const work = () => {
    for (let i = 0; i < count; i++) dma.pin(IOVA + places.next(), pages, 'read-write').unpin()
  }
  return await timeBatches(batches, { parts: count * pages, work })
}

/** `message read|write LENGTH COUNT`: one after the other, of memory that has to be asked for. @returns ns of one */
export const message: Job = async ({ dma, size }, batches, [way, ...words]) => {
  const [length, count] = words.map(Number) as [number, number]
  const local = new Uint8Array(length)
  const places = new PagePlaces(size, length)
  const times: number[] = []
  for (let i = 0; i < batches * count; i++) {
    const iova = IOVA + places.next()
    const start = performance.now()
    await (way === 'read' ? dma.read(iova, local) : dma.write(iova, local))
    times.push((performance.now() - start) * 1e6)
  }
  return { messages: times.length, p50: quantile(times, 0.5), p99: quantile(times, 0.99) }
}
