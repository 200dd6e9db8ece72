/** Look-ups: what finding the map of an IOVA costs, by how many maps there are. */
import { compare } from './comparison.ts'
import { type Doing, doing, startSides } from './dma-sides.ts'
import type { Part } from './part.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running } from './server.ts'

const MEMORY = 64 * 1024 * 1024
const REFERENCE = 'C search'
const MAPS = [1, 1000, 100_000]
const COUNT = 100_000

export const dmaLookUp: Part = {
  name: 'dma-look-up',
  about: 'reads of 4 bytes in one of 1, 1000 and 100,000 maps, beside a binary search in C',
  async measure(bench) {
    await using running = new Running()
    const { c, mdevkit } = await startSides(bench, running, MEMORY)
    const sides = [
      { name: REFERENCE, side: c },
      { name: 'mdevkit', side: mdevkit },
    ]
    const withOneMap = new Map<string, number>() // in the round at hand: its case comes first
    const cases = MAPS.map((maps): Case => {
      const contestant = (side: Omit<Doing, 'job'>): Contestant => {
        const job = `look-up ${maps} ${COUNT}`
        return doing(bench, { ...side, job }, (ns) => {
          if (maps === 1) withOneMap.set(side.name, ns)
          return { ns, rate: 1000 / ns, growth: ns / withOneMap.get(side.name)! }
        })
      }
      return { labels: [String(maps)], contestants: sides.map(contestant) }
    })
    const table = {
      title: 'Reads of 4 bytes in a random map',
      labels: ['maps'],
      figures: [
        { name: 'ns', title: 'ns', compared: true },
        { name: 'rate', title: 'M/s' },
        { name: 'growth', title: 'ns / with 1 map', digits: 2 },
      ],
      reference: REFERENCE,
      notes: [
        'Maps of one page, with a hole of one page between them, onto 16 pages: their own cache misses are not what is asked.',
        'mdevkit: the read of a gate to a container of its own, since a client may not have so many maps; it checks rights too.',
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}
