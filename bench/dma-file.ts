/** Bytes of a file, read straight into guest memory. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { compare } from './comparison.ts'
import { doing, startSides } from './dma-sides.ts'
import type { Part } from './part.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'

const KIB = 1024
const MIB = 1024 * KIB
const MEMORY = 512 * MIB
const FILE = 64 * MIB
const REFERENCE = 'C pread'

const SIZES = [
  { label: '4 KiB', size: 4 * KIB, count: 2000 },
  { label: '1 MiB', size: MIB, count: 50 },
]
const WAYS = [
  { name: 'mdevkit, sync', job: 'file-sync' },
  { name: 'mdevkit, 1 under way', job: 'file-async 1' },
  { name: 'mdevkit, 32 under way', job: 'file-async 32' },
]

export const dmaFile: Part = {
  name: 'dma-file',
  about: 'pieces of 4 KiB and 1 MiB from a cached file into guest memory, beside pread in C',
  async measure(bench) {
    const path = join(bench.directory, 'file')
    writeFileSync(path, Buffer.alloc(FILE, 0x5a)) // and so it is in the page cache
    await using running = new Running()
    const { c, mdevkit } = await startSides(bench, running, MEMORY)
    const cases = SIZES.map(({ label, size, count }): Case => {
      const figures = (ns: number) => ({ us: ns / 1000, rate: size / ns })
      const pieces = `${size} ${count} ${path}`
      return {
        labels: [label],
        contestants: [
          doing(bench, { name: REFERENCE, side: c, job: `file ${pieces}` }, figures),
          ...WAYS.map(({ name, job }) =>
            doing(bench, { name, side: mdevkit, job: `${job} ${pieces}` }, figures),
          ),
        ],
      }
    })
    const table = {
      title: 'From a file into guest memory',
      labels: ['piece'],
      figures: [
        { name: 'us', title: 'us', digits: 2, compared: true },
        { name: 'rate', title: 'GB/s' },
      ],
      reference: REFERENCE,
      notes: [
        `Random pages of a file of ${FILE / MIB} MiB, all in the page cache, into random pages of memory.`,
        'sync: mdev.dma.writeFromFileSync(); under way: writeFromFile(), on the thread pool, so many at a time. All threads of a side share one processor.',
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}
