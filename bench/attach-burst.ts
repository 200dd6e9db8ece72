/** Fifty clients that attach at once: how long the reply to each of their requests takes. */
import { type Attached, runAttach, startAttach } from './attach-client.ts'
import { compileC } from './c-programs.ts'
import type { Part } from './part.ts'
import { type Placement, PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import { disturbance, type Quiet, QuietWatch } from './quiet.ts'
import { Running } from './server.ts'
import { startServers } from './servers.ts'
import { formatTable } from './table.ts'

const CLIENTS = 50
const BURSTS = 40
const QUICK_BURSTS = 5
const PATIENCE_MS = 2000
/** Of each reply, at the 99.9th percentile. QEMU gives up after 5000. */
const REPLY_TARGET_MS = 100

interface Burst extends Attached, Quiet {
  readonly server: string
  readonly placement: Placement
}

export const attachBurst: Part = {
  name: 'attach-burst',
  about: '50 clients that attach at once, each to a device of its own: each reply',
  async measure(bench) {
    const program = compileC('attach', bench.directory)
    const results: Burst[] = []
    for (const placement of bench.placements) {
      await using running = new Running()
      const served = { devices: CLIENTS }
      const servers = await startServers(running, bench.hosts, placement, bench, served)
      const { client } = processorsOf(placement, bench.allowed)
      for (const server of servers) {
        bench.tell(`${server.spec.name}: ${CLIENTS} clients at once`)
        const bursts = String(bench.quick ? QUICK_BURSTS : BURSTS)
        await using child = await startAttach(program, client, server, ['--bursts', bursts])
        const watch = new QuietWatch(PATIENCE_MS)
        const attached = await watch.quietly([server.pid, child.pid], () => runAttach(child))
        results.push({ server: server.spec.name, placement, ...attached, ...watch.result })
      }
    }
    const text = [
      `${CLIENTS} clients attach at once, each to a device of its own; each reply`,
      '',
      burstTable(results),
      '',
      'From the request to its reply; each client sends its next request as soon as it has one.',
      placementNote(bench.allowed),
      disturbance(results),
    ]
    return { text: text.join('\n'), data: results }
  },
}

function burstTable(bursts: readonly Burst[]): string {
  const ms = (ns: number) => (ns / 1e6).toFixed(2)
  const rows = bursts.flatMap(({ server, placement, replies }) =>
    Object.entries(replies).map(([name, { n, p50, p99, p999, max }]) => [
      PLACEMENT_NAMES[placement],
      server,
      name,
      String(n),
      ms(p50),
      ms(p99),
      ms(p999),
      ms(max),
      `<= ${REPLY_TARGET_MS}: ${p999 / 1e6 <= REPLY_TARGET_MS ? 'met' : 'missed'}`,
    ]),
  )
  return formatTable(
    [
      ...['processors', 'server', 'reply'].map((title) => ({ title })),
      ...['n', 'p50 ms', 'p99 ms', 'p99.9 ms', 'max ms'].map((title) => ({
        title,
        align: 'right' as const,
      })),
      { title: 'target, p99.9' },
    ],
    rows,
  )
}
