/** Copies out of and into guest memory, as a driver makes them. */
import { compare } from './comparison.ts'
import { doing, startSides } from './dma-sides.ts'
import type { Part } from './part.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'

const KIB = 1024
const MIB = 1024 * KIB
const MEMORY = 512 * MIB
const REFERENCE = 'C memcpy'
/** 0.9 of the bytes that C copies in the same time. */
const TARGET = 1.11

const SIZES = [
  { label: '64 B', size: 64, count: 50_000 },
  { label: '4 KiB', size: 4 * KIB, count: 20_000, targets: { ns: TARGET } },
  { label: '1 MiB', size: MIB, count: 100, targets: { ns: TARGET } },
]
const WAYS = [
  { access: 'dma.read', way: 'read' },
  { access: 'dma.write', way: 'write' },
]

export const dmaCopy: Part = {
  name: 'dma-copy',
  about: 'copies of 64 B, 4 KiB and 1 MiB out of and into guest memory, beside memcpy in C',
  async measure(bench) {
    await using running = new Running()
    const { c, mdevkit } = await startSides(bench, running, MEMORY)
    const cases = SIZES.flatMap(({ label, size, count, targets }) =>
      WAYS.map(({ access, way }): Case => {
        const job = `copy ${way} ${size} ${count}`
        const figures = (ns: number) => ({ ns, rate: size / ns })
        return {
          labels: [access, label],
          contestants: [
            doing(bench, { name: REFERENCE, side: c, job }, figures),
            doing(
              bench,
              { name: 'mdevkit', side: mdevkit, job, ...(targets && { targets }) },
              figures,
            ),
          ],
        }
      }),
    )
    const table = {
      title: 'Copies out of and into random pages of guest memory',
      labels: ['access', 'size'],
      figures: [
        { name: 'ns', title: 'ns', compared: true },
        { name: 'rate', title: 'GB/s' },
      ],
      reference: REFERENCE,
      notes: [
        `${MEMORY / MIB} MiB in a sealed memfd, which another process has faulted in; both sides have touched every page.`,
        'mdevkit: mdev.dma of a device whose client mapped that memory over its socket; C: memcpy from and to a shared mapping.',
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}
