/** Posted writes: how fast a client can write when it wants no reply, as a guest's driver does nearly always. */
import { ACCESS_FIGURES, accessCase } from './client.ts'
import { compare } from './comparison.ts'
import type { Part } from './part.ts'
import { PLACEMENT_NAMES, placementNote } from './pinning.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'
import { ECHO, startServers } from './servers.ts'

const BATCH = 1000

export const posted: Part = {
  name: 'posted',
  about: 'posted writes of 4 bytes, one after the other, beside a C echo that only reads them',
  async measure(bench) {
    await using running = new Running()
    const cases: Case[] = []
    for (const placement of bench.placements) {
      const servers = await startServers(running, [bench.echo, ...bench.hosts], placement, bench)
      const accesses = { access: 'post', count: 200_000, rehearsal: 200_000, batch: BATCH } as const
      cases.push(accessCase(bench, servers, placement, accesses, [PLACEMENT_NAMES[placement]]))
    }
    const [p50, , cpu] = ACCESS_FIGURES
    const table = {
      title: 'Posted writes of 4 bytes',
      labels: ['processors'],
      figures: [
        { ...p50, title: 'us/msg', digits: 2 },
        { ...cpu, digits: 2, compared: true },
      ],
      reference: ECHO,
      notes: [
        `Batches of ${BATCH}, each ended by a read that waits until all are taken; us/msg is the median batch's time by ${BATCH}.`,
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
