/** Sparse traffic: a guest that thinks between its accesses. Polling for it must not cost what it cannot gain. */
import { ACCESS_FIGURES, accessCase } from './client.ts'
import { compare } from './comparison.ts'
import type { Part } from './part.ts'
import { LATENCY_TARGETS, PLACEMENT_NAMES, placementNote } from './pinning.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'
import { ECHO, HOST_PROGRAM, hostServer, startServers } from './servers.ts'

/** Short enough that polling can pay, and too long for that. */
const GAPS_US = [30, 500] as const
/** From this gap on, traffic is sparse: then the CPU time is what has been promised, else the latency. */
const SPARSE_US = 500
const CPU_TARGET = 1.5
const SAMPLE_US = 600_000
/** This build, never polling: what sparse traffic costs where there is no policy to cost anything. */
const BLOCKING = 'mdevkit, blocking'

export const sparse: Part = {
  name: 'sparse',
  about:
    'reads with 30 and 500 us between them: latency beside the C echo, CPU beside mdevkit that never polls',
  async measure(bench) {
    await using running = new Running()
    const cases: Case[] = []
    const specs = [bench.echo, hostServer(BLOCKING, HOST_PROGRAM, '--block'), ...bench.hosts]
    for (const placement of bench.placements) {
      const servers = await startServers(running, specs, placement, bench)
      for (const gapUs of GAPS_US) {
        const labels = [`${gapUs} us`, PLACEMENT_NAMES[placement]]
        const targets =
          gapUs >= SPARSE_US ? { cpu: CPU_TARGET } : { p50: LATENCY_TARGETS[placement] }
        const accesses = { access: 'read', gapUs, count: SAMPLE_US / gapUs } as const
        cases.push(accessCase(bench, servers, placement, accesses, labels, targets))
      }
    }
    const [p50, p99, cpu] = ACCESS_FIGURES
    const table = {
      title: 'Sparse reads of 4 bytes, blocking client',
      labels: ['gap', 'processors'],
      figures: [p50, p99, { ...cpu, compared: true, reference: BLOCKING }],
      reference: ECHO,
      notes: [
        'The client is busy in the gap, as a guest is: on the same processor the server gets it only when the client waits.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
