/** Through QEMU: what a guest's trapped read and posted write take, beside a device that QEMU emulates itself. */
import { readFileSync } from 'node:fs'
import { vfioUserDevice } from '../src/host/vmm-arguments.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import { bootGuest, type Guest } from '../vm/guest.ts'
import { prepareVm } from '../vm/prepare.ts'
import { shellInit } from '../vm/shell.ts'
import { compileC } from './c-programs.ts'
import { compare } from './comparison.ts'
import type { Part } from './part.ts'
import { pinned, PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running } from './server.ts'
import { startServers } from './servers.ts'

const REFERENCE = 'QEMU edu'
const PROGRAM = '/usr/bin/mmio'
const COUNT = 5000
const QUICK_COUNT = 500
/** A register that may be read and written in both: edu's inverts what is written, ours keeps it. */
const OFFSET = 4

/** A device as the guest finds it. */
interface Found {
  readonly name: string
  readonly placement: string
  /** On bus 0, in the order of QEMU's arguments. */
  readonly slot: number
  readonly pid: number | undefined
}

export const guest: Part = {
  name: 'guest',
  about:
    'a guest’s trapped reads and posted writes through QEMU (TCG), beside QEMU’s own edu device',
  async measure(bench) {
    const mmio = compileC('mmio', bench.directory, '-static')
    const assets = await prepareVm({ onProgress: (line) => bench.tell(line) })
    await using running = new Running()
    const found: Found[] = []
    const sockets: string[] = []
    for (const placement of bench.placements) {
      for (const server of await startServers(running, bench.hosts, placement, bench)) {
        sockets.push(server.sockets[0]!)
        found.push({
          name: server.spec.name,
          placement: PLACEMENT_NAMES[placement],
          slot: found.length + 2,
          pid: server.pid,
        })
      }
    }
    bench.tell('booting')
    const { client: processor } = processorsOf('same', bench.allowed)
    const argv = pinned(processor, assets.qemu.argv)
    const vm = running.add(
      await bootGuest({
        assets: { ...assets, qemu: { ...assets.qemu, argv } },
        init: shellInit,
        files: [{ path: PROGRAM, mode: 0o755, content: readFileSync(mmio) }],
        devices: [
          ['-device', 'edu'],
          ...sockets.map((socket) => ['-device', vfioUserDevice(socket)]),
        ],
      }),
    )
    const cases = (['read', 'write'] as const).flatMap((access) =>
      bench.placements.map((placement): Case => {
        const label = PLACEMENT_NAMES[placement]
        const here = found.filter((device) => device.placement === label)
        const edu = { name: REFERENCE, placement: label, slot: 1, pid: undefined }
        const count = bench.quick ? QUICK_COUNT : COUNT
        return {
          labels: [access === 'write' ? 'posted write' : access, label],
          contestants: [edu, ...here].map((device) => accessedIn(vm, device, access, count)),
        }
      }),
    )
    const table = {
      title: `Accesses of 4 bytes by a guest of QEMU ${assets.qemu.version}`,
      labels: ['access', 'processors'],
      figures: [
        { name: 'p50', title: 'p50 us', digits: 2, compared: true },
        { name: 'p99', title: 'p99 us', digits: 2 },
      ],
      reference: REFERENCE,
      notes: [
        'By the guest’s clock. QEMU, on the processor of the client, emulates that of the guest and edu.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before guest and servers end
  },
}

function accessedIn(vm: Guest, device: Found, access: string, count: number): Contestant {
  const path = `/sys/bus/pci/devices/0000:00:${device.slot.toString(16).padStart(2, '0')}.0`
  return {
    name: device.name,
    measure: async (quietly) => {
      const pids = device.pid === undefined ? [vm.pid] : [vm.pid, device.pid]
      return quietly(pids, async () => {
        const command = `${PROGRAM} ${path} ${access} ${OFFSET} ${count} 2>&1`
        const { status, output } = await vm.run(command)
        if (status !== 0) throw new ErrnoError('EIO', `in the guest: ${output.trim()}`)
        const { p50, p99 } = JSON.parse(output) as { p50: number; p99: number }
        return { p50: p50 / 1000, p99: p99 / 1000 }
      })
    },
  }
}
