/** Attaching: ten thousand times one after the other. */
import { runAttach, startAttach } from './attach-client.ts'
import { compileC } from './c-programs.ts'
import { compare } from './comparison.ts'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import type { Part } from './part.ts'
import { PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running } from './server.ts'
import { ECHO, startServers } from './servers.ts'

const CYCLES = 10_000 // over all rounds
const QUICK_CYCLES = 400

export const attach: Part = {
  name: 'attach',
  about: '10,000 attaches and detaches, one after the other, beside a C echo',
  async measure(bench) {
    const program = compileC('attach', bench.directory)
    await using running = new Running()
    const cases: Case[] = []
    const count = Math.ceil((bench.quick ? QUICK_CYCLES : CYCLES) / bench.rounds)
    for (const placement of bench.placements) {
      const servers = await startServers(running, [bench.echo, ...bench.hosts], placement, bench)
      const { client } = processorsOf(placement, bench.allowed)
      const contestants = servers.map((server): Contestant => ({
        name: server.spec.name,
        async rehearse() {
          await using child = await startAttach(program, client, server, ['--cycles', '200'])
          await runAttach(child)
        },
        async measure(quietly) {
          const options = ['--cycles', String(count)]
          await using child = await startAttach(program, client, server, options)
          return await quietly([server.pid, child.pid], async () => {
            const before = cpuTime(server.pid)
            const { seconds, attach: whole } = await runAttach(child)
            const used = cpuTimeSince(before, cpuTime(server.pid))
            return {
              attach: whole.p50 / 1000,
              p999: whole.p999 / 1000,
              cycle: (seconds * 1e6) / count,
              cpu: used.ns / count / 1000,
            }
          })
        },
      }))
      cases.push({ labels: [PLACEMENT_NAMES[placement]], contestants })
    }
    const table = {
      title: `Attaches and detaches, ${count * bench.rounds} of each server`,
      labels: ['processors'],
      figures: [
        { name: 'attach', title: 'attach us', compared: true },
        { name: 'p999', title: 'p99.9 us' },
        { name: 'cycle', title: 'cycle us' },
        { name: 'cpu', title: 'CPU us/cycle' },
      ],
      reference: ECHO,
      notes: [
        'Attach: from the connect through seven replies, of VERSION to the first REGION_READ, with a map and an eventfd; the median.',
        'Cycle: with the detaching, until the next can begin; the mean of all.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
