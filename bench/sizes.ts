/** Large transfers: 4 KiB and 1 MiB in one message, of memory and of registers. */
import { type Access, ACCESS_FIGURES, accessCase } from './client.ts'
import { compare } from './comparison.ts'
import type { Part } from './part.ts'
import { PLACEMENT_NAMES, placementNote } from './pinning.ts'
import type { Case } from './rounds.ts'
import { Running } from './server.ts'
import { ECHO, startServers } from './servers.ts'

const KIB = 1024
const MIB = 1024 * KIB

const TRANSFERS: readonly {
  readonly label: string
  readonly device: 'registers' | 'memory'
  readonly size: number
  readonly count: number
}[] = [
  { label: '4 KiB of registers', device: 'registers', size: 4 * KIB, count: 2000 },
  { label: '4 KiB of memory', device: 'memory', size: 4 * KIB, count: 5000 },
  { label: '1 MiB of memory', device: 'memory', size: MIB, count: 300 },
]
const ACCESSES: readonly Access[] = ['read', 'write']

export const sizes: Part = {
  name: 'sizes',
  about: 'reads and writes of 4 KiB and 1 MiB, beside a C echo of messages as long',
  async measure(bench) {
    await using running = new Running()
    const cases: Case[] = []
    for (const placement of bench.placements) {
      const start = async (device: 'registers' | 'memory') =>
        startServers(running, [bench.echo, ...bench.hosts], placement, bench, { device })
      const servers = { registers: await start('registers'), memory: await start('memory') }
      for (const { label, device, size, count } of TRANSFERS) {
        for (const access of ACCESSES) {
          const labels = [label, access, PLACEMENT_NAMES[placement]]
          const accesses = { access, size, count, rehearsal: count }
          cases.push(accessCase(bench, servers[device], placement, accesses, labels))
        }
      }
    }
    const table = {
      title: 'Transfers in one message, blocking client',
      labels: ['what', 'access', 'processors'],
      figures: ACCESS_FIGURES,
      reference: ECHO,
      notes: [
        'Registers are accessed one by one, 4 bytes each, memory is copied; the echo does neither.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
