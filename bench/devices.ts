/** Many devices: traffic on one, while a client is attached to each of the others and does nothing. */
import { ACCESS_FIGURES, accessCase } from './client.ts'
import { compare } from './comparison.ts'
import { holdAll } from './hold.ts'
import type { Part } from './part.ts'
import { LATENCY_TARGETS, PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'
import { ECHO, startServers } from './servers.ts'

const COUNTS = [1, 10, 100, 1000]

export const devices: Part = {
  name: 'devices',
  about: 'reads of one device with 1, 10, 100 and 1000 attached, beside a C echo of one client',
  async measure(bench) {
    await using running = new Running()
    const cases: Case[] = []
    for (const placement of bench.placements) {
      const [echo] = await startServers(running, [bench.echo], placement, bench)
      const { client } = processorsOf(placement, bench.allowed)
      for (const count of COUNTS) {
        bench.tell(`opening ${count} devices`)
        const served = { devices: count }
        const hosts = await startServers(running, bench.hosts, placement, bench, served)
        for (const { sockets } of hosts) {
          if (count > 1) running.add(await holdAll(bench, sockets.slice(1), client))
        }
        const labels = [String(count), PLACEMENT_NAMES[placement]]
        const targets = { p50: LATENCY_TARGETS[placement] }
        const servers = [echo!, ...hosts]
        cases.push(accessCase(bench, servers, placement, { access: 'read' }, labels, targets))
      }
    }
    const table = {
      title: 'Reads of 4 bytes from one of many devices, blocking client',
      labels: ['devices', 'processors'],
      figures: ACCESS_FIGURES,
      reference: ECHO,
      notes: [placementNote(bench.allowed)],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
