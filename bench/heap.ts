/** Heap: what the host's heap grows by over ten million messages, which should allocate nothing. */
import { timeAccesses } from './client.ts'
import type { HeapReport } from './heap-report.ts'
import type { Findings, Part } from './part.ts'
import { processorsOf } from './pinning.ts'
import { immediately } from './quiet.ts'
import { Server } from './server.ts'
import { formatTable } from './table.ts'

const MILLION = 1_000_000
/** Most of them posted, which are quickest; the client polls for the replies of the others. */
const MESSAGES = [
  { access: 'read', polls: true, count: 2 * MILLION },
  { access: 'write', polls: true, count: MILLION },
  { access: 'post', count: 7 * MILLION },
] as const
const WARM_UP = 100_000
const QUICK = 20 // as many times fewer
const MAX_MS = 300_000

export const heap: Part = {
  name: 'heap',
  about: 'growth of the host’s heap, and collections of it, over ten million messages',
  async measure(bench): Promise<Findings> {
    const processors = processorsOf(bench.placements[0]!, bench.allowed)
    const results: HeapResult[] = []
    for (const spec of bench.hosts) {
      const options = { directory: bench.directory, processor: processors.server }
      await using server = await Server.start(spec, options)
      const run = async (accesses: (typeof MESSAGES)[number], count: number) => {
        const { client } = bench.programs
        const all = { ...accesses, count }
        const { messages } = await timeAccesses(
          client,
          server,
          processors,
          all,
          MAX_MS,
          immediately,
        )
        return messages!
      }
      bench.tell(`${spec.name}: rehearsing`)
      for (const accesses of MESSAGES) await run(accesses, WARM_UP)
      const before = await server.ask<HeapReport>('heap')
      let messages = 0
      for (const accesses of MESSAGES) {
        bench.tell(`${spec.name}: ${accesses.access}`)
        messages += await run(accesses, accesses.count / (bench.quick ? QUICK : 1))
      }
      const after = await server.ask<HeapReport>('heap')
      results.push({ server: spec.name, messages, before, after })
    }
    return { text: heapText(results), data: results }
  },
}

export interface HeapResult {
  readonly server: string
  readonly messages: number
  readonly before: HeapReport
  readonly after: HeapReport
}

/** @param results of servers, one a row */
export function heapText(results: readonly HeapResult[]): string {
  const rows = results.map(({ server, messages, before, after }) => [
    server,
    String(messages),
    String(after.usedNow - before.used),
    String(after.used - before.used),
    String(after.scavenges - before.scavenges),
    String(after.others - before.others),
    ((after.allocated - before.allocated) / messages).toFixed(1),
  ])
  const table = formatTable(
    [
      { title: 'server' },
      ...[
        'messages',
        'growth, bytes',
        'growth without garbage',
        'scavenges',
        'other collections',
        'allocated, bytes/msg',
      ].map((title) => ({ title, align: 'right' as const })),
    ],
    rows,
  )
  const notes = [
    'Scavenges and other collections are those that V8 made of its own accord. Allocated: an estimate from samples (target: none).',
  ]
  return ['Heap', '', table, '', ...notes].join('\n')
}
