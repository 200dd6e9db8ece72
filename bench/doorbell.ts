/** Doorbells and interrupts: how long until a device is rung, and until a waiting client knows the answer. */
import { compileC } from './c-programs.ts'
import { Child } from './child.ts'
import { compare } from './comparison.ts'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import type { Part } from './part.ts'
import { PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import { immediately } from './quiet.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running, type ServerSpec } from './server.ts'
import { startServers } from './servers.ts'

const COUNT = 10_000
const QUICK_COUNT = 1000
const REFERENCE = 'C bell'
const WAYS = { eventfd: [], 'posted write': ['--post'] } as const

/** What ring.c prints, ns. */
interface Times {
  readonly messages: number
  readonly doorbell: { readonly p50: number }
  readonly interrupt: { readonly p50: number }
  readonly both: { readonly p50: number; readonly p99: number }
}

export const doorbell: Part = {
  name: 'doorbell',
  about:
    'a ring by eventfd or posted write until the device knows, and the interrupt that answers it, beside C',
  async measure(bench) {
    const ring = compileC('ring', bench.directory)
    const bell = compileC('bell', bench.directory, '-pthread')
    const floor: ServerSpec = {
      name: REFERENCE,
      placements: ['split', 'same'],
      keepsWrites: false,
      command: (directory) => [bell, `${directory}/s`],
    }
    await using running = new Running()
    const cases: Case[] = []
    for (const placement of bench.placements) {
      const specs = [floor, ...bench.hosts]
      const servers = await startServers(running, specs, placement, bench, { device: 'bell' })
      const { client } = processorsOf(placement, bench.allowed)
      for (const [way, flags] of Object.entries(WAYS)) {
        const contestants = servers.map((server): Contestant => {
          const measure: Contestant['measure'] = async (quietly) => {
            const count = String(bench.quick ? QUICK_COUNT : COUNT)
            const command = [ring, ...flags, '--count', count, server.sockets[0]!]
            await using child = await Child.start(`ring of ${server.spec.name}`, client, command)
            await child.next<{ ready: true }>()
            return await quietly([server.pid, child.pid], async () => {
              const before = cpuTime(server.pid)
              child.send('go')
              const times = await child.next<Times>()
              const used = cpuTimeSince(before, cpuTime(server.pid))
              return {
                doorbell: times.doorbell.p50 / 1000,
                interrupt: times.interrupt.p50 / 1000,
                both: times.both.p50 / 1000,
                p99: times.both.p99 / 1000,
                cpu: used.ns / times.messages / 1000,
              }
            })
          }
          const rehearse = async () => void (await measure(immediately))
          return { name: server.spec.name, rehearse, measure }
        })
        cases.push({ labels: [way, PLACEMENT_NAMES[placement]], contestants })
      }
    }
    const table = {
      title: 'Doorbell and interrupt, client asleep until the interrupt',
      labels: ['rung by', 'processors'],
      figures: [
        { name: 'doorbell', title: 'doorbell us', compared: true },
        { name: 'interrupt', title: 'interrupt us', compared: true },
        { name: 'both', title: 'both us' },
        { name: 'p99', title: 'p99 us' },
        { name: 'cpu', title: 'CPU us/ring' },
      ],
      reference: REFERENCE,
      notes: [
        'Medians. doorbell: from the ring until the device’s handler runs; interrupt: from there until the client knows.',
        'C bell: threads asleep in read of the eventfd, or in recv of the socket, that write the interrupt’s eventfd.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the servers end
  },
}
