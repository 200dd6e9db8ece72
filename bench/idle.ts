/** Idle: what a host with many open devices uses while nobody does anything. */
import { setTimeout as sleep } from 'node:timers/promises'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import { holdAll } from './hold.ts'
import type { Part } from './part.ts'
import { processorsOf } from './pinning.ts'
import { Running, Server } from './server.ts'

/** V8 collects the garbage of starting up some 8 s after that, once or twice: not part of being idle. */
const SETTLE_SECONDS = 20
const DEVICES = [100, 1000]

export const idle: Part = {
  name: 'idle',
  about: 'processor time and wake-ups of 100 and 1000 open devices that nobody uses',
  async measure(bench) {
    const seconds = bench.quick ? 3 : 10
    const { server: processor } = processorsOf('same', bench.allowed)
    await using running = new Running()
    const servers: { server: Server; devices: number }[] = []
    for (const spec of bench.hosts) {
      for (const devices of DEVICES) {
        bench.tell(`${spec.name}: opening ${devices} devices`)
        const options = { directory: bench.directory, processor, devices }
        const server = running.add(await Server.start(spec, options))
        running.add(await holdAll(bench, server.sockets, processor))
        servers.push({ server, devices })
      }
    }
    bench.tell(`settling for ${SETTLE_SECONDS} s`)
    await sleep(SETTLE_SECONDS * 1000)
    const before = servers.map(({ server }) => cpuTime(server.pid))
    await sleep(seconds * 1000)
    const results = servers.map(({ server, devices }, index) => ({
      server: server.spec.name,
      devices,
      seconds,
      used: cpuTimeSince(before[index]!, cpuTime(server.pid)),
    }))
    const lines = results.map(
      ({ server, devices, used: { ns, ticks, switches } }) =>
        `${server}: ${devices} open devices, ${seconds} s idle: ` +
        `${ns} ns of processor time, ${ticks} ticks, ${switches} context switches (target: none)`,
    )
    return { text: ['Idle', '', ...lines].join('\n'), data: results }
  },
}
