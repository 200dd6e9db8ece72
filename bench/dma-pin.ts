/** Pins: what it takes to keep pages of guest memory in place, and to let them go. */
import { compare } from './comparison.ts'
import { doing, startSides } from './dma-sides.ts'
import type { Part } from './part.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'

const MIB = 1024 * 1024
const MEMORY = 512 * MIB
const REFERENCE = 'C mlock'

/** Pages of one pin: the least, and the most that there may be. */
const PINS = [
  { pages: 1, count: 1000 },
  { pages: 512, count: 20 },
]

export const dmaPin: Part = {
  name: 'dma-pin',
  about: 'pinning and unpinning 1 and 512 pages, beside mlock and munlock in C',
  async measure(bench) {
    await using running = new Running()
    const { c, mdevkit } = await startSides(bench, running, MEMORY)
    const cases = PINS.map(({ pages, count }): Case => {
      const figures = (ns: number) => ({ ns, rate: 1e6 / ns })
      const job = `pin ${pages} ${count}`
      return {
        labels: [String(pages)],
        contestants: [
          doing(bench, { name: REFERENCE, side: c, job }, figures),
          doing(bench, { name: 'mdevkit', side: mdevkit, job }, figures),
        ],
      }
    })
    const table = {
      title: 'Pins and unpins of guest memory',
      labels: ['pages of a pin'],
      figures: [
        { name: 'ns', title: 'ns/page', compared: true },
        { name: 'rate', title: 'thousand pages/s' },
      ],
      reference: REFERENCE,
      notes: [
        'One pin of neighbours at a random page, and its unpin; nothing else is pinned.',
        'mdevkit: mdev.dma.pin() and unpin(): views are made, the limits of the client’s process are looked at, and pages are locked; C: mlock and munlock.',
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}
