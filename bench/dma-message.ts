/** Guest memory that has to be asked for: a DMA_READ or DMA_WRITE and its answer, beside the region access of that size. */
import { ACCESS_FIGURES, type Access, accessed } from './client.ts'
import { compare } from './comparison.ts'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import type { Child } from './child.ts'
import { askFor, startDmaHost } from './dma-sides.ts'
import type { Part } from './part.ts'
import { PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running } from './server.ts'
import { startServers } from './servers.ts'

const KIB = 1024
const MIB = 1024 * KIB
const MEMORY = 16 * MIB
const REFERENCE = 'region access'
const BATCHES = 10
const QUICK_BATCHES = 2

const TRANSFERS: readonly {
  readonly access: Access & ('read' | 'write')
  readonly label: string
  readonly size: number
  /** In a batch, of which there are up to {@link BATCHES}. */
  readonly count: number
}[] = [
  { access: 'read', label: '4 B', size: 4, count: 500 },
  { access: 'read', label: '4 KiB', size: 4 * KIB, count: 500 },
  { access: 'write', label: '4 KiB', size: 4 * KIB, count: 500 },
  { access: 'read', label: '1 MiB', size: MIB, count: 20 },
]

export const dmaMessage: Part = {
  name: 'dma-message',
  about: 'accesses to guest memory by message, beside accesses of that size to a region',
  async measure(bench) {
    await using running = new Running()
    const cases: Case[] = []
    for (const placement of bench.placements) {
      const processors = processorsOf(placement, bench.allowed)
      const spec = bench.hosts[0]!
      const served = { device: 'memory' } as const
      const [regions] = await startServers(running, [spec], placement, bench, served)
      const { host } = await startDmaHost(bench, running, processors, MEMORY, '--no-file')
      for (const { access, label, size, count } of TRANSFERS) {
        const accesses = { access, size, count: BATCHES * count, rehearsal: BATCHES * count }
        const region = accessed(bench, regions!, processors, accesses)
        cases.push({
          labels: [access, label, PLACEMENT_NAMES[placement]],
          contestants: [
            { ...region, name: REFERENCE },
            asking(host, `message ${access} ${size} ${count}`, bench.quick),
          ],
        })
      }
    }
    const table = {
      title: 'Guest memory by message',
      labels: ['access', 'size', 'processors'],
      figures: ACCESS_FIGURES,
      reference: REFERENCE,
      notes: [
        'message: await mdev.dma.read() or write() of memory without a file, until the C client has answered; one after the other.',
        'region access: the C client’s REGION_READ or REGION_WRITE of shared memory in another host of this build.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}

/** What `message` of dma-access-jobs.ts answers, ns. */
interface Latencies {
  readonly messages: number
  readonly p50: number
  readonly p99: number
}

function asking(host: Child, job: string, quick: boolean): Contestant {
  const ask = async (batches: number) => {
    const before = cpuTime(host.pid)
    const { messages, p50, p99 } = await askFor<Latencies>(host, job, batches)
    const used = cpuTimeSince(before, cpuTime(host.pid))
    return { p50: p50 / 1000, p99: p99 / 1000, cpu: used.ns / messages / 1000 }
  }
  const batches = quick ? QUICK_BATCHES : BATCHES
  return {
    name: 'message',
    rehearse: async () => void (await ask(batches)),
    measure: async (quietly) => quietly([host.pid], async () => ask(batches)),
  }
}
