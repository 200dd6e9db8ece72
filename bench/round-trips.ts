/** Round trips of 4 bytes: what a trapped read, and a write that is answered, take. */
import { ACCESS_FIGURES, accessCase } from './client.ts'
import { compare } from './comparison.ts'
import type { Part } from './part.ts'
import { LATENCY_TARGETS, PLACEMENT_NAMES, placementNote } from './pinning.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'
import { ECHO, echoServer, startServers } from './servers.ts'

export const roundTrips: Part = {
  name: 'round-trips',
  about:
    'reads and writes of 4 bytes with reply, beside a bare C echo that sleeps and one that polls',
  async measure(bench) {
    await using running = new Running()
    const polling = echoServer(bench.programs, `${ECHO}, polling`, '--spin')
    const cases: Case[] = []
    for (const placement of bench.placements) {
      const specs = [bench.echo, polling, ...bench.hosts]
      const servers = await startServers(running, specs, placement, bench)
      for (const access of ['read', 'write'] as const) {
        for (const polls of [false, true]) {
          const labels = [access, polls ? 'polling' : 'blocking', PLACEMENT_NAMES[placement]]
          // promised to those who sleep for the reply, as QEMU does
          const targets = polls ? undefined : { p50: LATENCY_TARGETS[placement] }
          const accesses = { access, polls }
          cases.push(accessCase(bench, servers, placement, accesses, labels, targets))
        }
      }
    }
    const table = {
      title: 'Round trips of 4 bytes',
      labels: ['access', 'client', 'processors'],
      figures: ACCESS_FIGURES,
      reference: ECHO,
      notes: [
        'A server that polls uses as much CPU as it waits. A client that polls on the processor of the server competes with it.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
