/** Maps and unmaps: what the container does of them, without the messages. */
import { compare } from './comparison.ts'
import { doing, startSides } from './dma-sides.ts'
import type { Part } from './part.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'

const MIB = 1024 * 1024
const MEMORY = 512 * MIB
const REFERENCE = 'C mmap'

const KINDS = [
  { labels: ['a page', '0'], job: 'map 0 500' },
  { labels: ['a page', '10000'], job: 'map 10000 500' },
  { labels: ['a file of 512 MiB', '0'], job: 'map-file 50' },
]

export const dmaMap: Part = {
  name: 'dma-map',
  about: 'mapping and unmapping pages and whole files, beside mmap and munmap in C',
  async measure(bench) {
    await using running = new Running()
    const { c, mdevkit } = await startSides(bench, running, MEMORY)
    const figures = (ns: number) => ({ us: ns / 1000, rate: 1e6 / ns })
    const cases = KINDS.map(({ labels, job }): Case => ({
      labels,
      contestants: [
        doing(bench, { name: REFERENCE, side: c, job }, figures),
        doing(bench, { name: 'mdevkit', side: mdevkit, job }, figures),
      ],
    }))
    const table = {
      title: 'Maps and unmaps of guest memory',
      labels: ['what', 'other maps'],
      figures: [
        { name: 'us', title: 'us', digits: 2, compared: true },
        { name: 'rate', title: 'thousands/s' },
      ],
      reference: REFERENCE,
      notes: [
        'One map and its unmap. Pages are of a file of which others are mapped, as where a guest has an IOMMU; the file of 512 MiB is new each time.',
        'mdevkit: Container.map() and unmap(), with all that is checked there; C: mmap, munmap and close, as libvfio-user does them.',
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}
