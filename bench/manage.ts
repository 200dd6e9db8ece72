/** Managing: creations and removals over HTTP, beside the same over the host's control socket, and requests that do nothing. */
import { ControlClient } from '../src/host/control-client.ts'
import { hostSocket } from '../src/host/paths.ts'
import { compare } from './comparison.ts'
import { ManagedMachine, uuidOf } from './managed-machine.ts'
import type { Part } from './part.ts'
import type { Contestant } from './rounds.ts'

const PARENT = 'counted'
const TYPE = 'counted-small'
const COUNT = 200
const QUICK_COUNT = 20
/** Requests that are under way together. */
const AT_ONCE = [1, 16]
const CONTROL_SOCKET = 'control socket'

/** One way to make and take back mdevs. */
interface Way {
  readonly name: string
  readonly create: (uuid: string) => Promise<unknown>
  readonly remove: (uuid: string) => Promise<unknown>
}

export const manage: Part = {
  name: 'manage',
  about: 'creations and removals per second over HTTP, beside the control socket of the host',
  async measure(bench) {
    await using machine = new ManagedMachine(bench.directory)
    await machine.start(0)
    const { api, root } = machine
    const control = await ControlClient.connect(hostSocket(root, PARENT))
    const ways: readonly Way[] = [
      {
        name: CONTROL_SOCKET,
        create: (uuid) => control.create(TYPE, uuid),
        remove: (uuid) => control.remove(uuid),
      },
      {
        name: 'HTTP',
        create: (uuid) => api.start({ uuid, parent: PARENT, type: TYPE }),
        remove: (uuid) => api.stop(uuid),
      },
      { name: 'HTTP, a list instead', create: () => api.parents(), remove: () => api.parents() },
    ]
    const count = bench.quick ? QUICK_COUNT : COUNT
    const contestant = ({ name, create, remove }: Way, atOnce: number): Contestant => ({
      name,
      measure: async (quietly) =>
        quietly([machine.pids.daemon, ...machine.pids.hosts], async () => ({
          create: await perSecond(count, atOnce, create),
          remove: await perSecond(count, atOnce, remove),
        })),
    })
    const cases = AT_ONCE.map((atOnce) => ({
      labels: [String(atOnce)],
      contestants: ways.map((way) => contestant(way, atOnce)),
    }))
    const table = {
      title: `Creations and removals of ${count} mdevs`,
      labels: ['at once'],
      figures: [
        { name: 'create', title: 'creations/s', digits: 0, compared: true },
        { name: 'remove', title: 'removals/s', digits: 0, compared: true },
      ],
      reference: CONTROL_SOCKET,
      notes: ['A ratio of more than 1 is faster than the control socket.'],
    }
    try {
      return await compare(bench, table, cases)
    } finally {
      control.close()
    }
  },
}

/** Runs `step` for the first `count` UUIDs. @returns how many were done per second */
async function perSecond(
  count: number,
  atOnce: number,
  step: (uuid: string) => Promise<unknown>,
): Promise<number> {
  let next = 0
  const began = performance.now()
  const runner = async () => {
    while (next < count) await step(uuidOf(next++))
  }
  await Promise.all(Array.from({ length: atOnce }, runner))
  return (count * 1000) / (performance.now() - began)
}
