/** Through QEMU: what fio reaches in a guest on our disk, beside QEMU's own `-device nvme`, in the same guest. */
import { vfioUserDevice } from '../src/host/vmm-arguments.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import { diskToolFiles } from '../vm/disk-tools.ts'
import { bootGuest, type Guest } from '../vm/guest.ts'
import { prepareVm } from '../vm/prepare.ts'
import { shellInit } from '../vm/shell.ts'
import { compare } from './comparison.ts'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import { fioCommand, type FioJob, type FioResult, parseFio } from './fio.ts'
import { makeImage, SERIAL, startNvmeHost } from './nvme-disk.ts'
import type { Bench, Part } from './part.ts'
import { pinned } from './pinning.ts'
import type { Case, Contestant } from './rounds.ts'
import { Running } from './server.ts'

const REFERENCE = 'QEMU nvme'
const REFERENCE_SERIAL = 'qemu'
const IMAGE_MIB = 256
const SECONDS = 4
const QUICK_SECONDS = 1
const KIB = 1024
const MB = 1e6
/** An emulated guest takes its time. */
const PATIENCE = { timeoutMs: 240_000 }

/** What is done, and what our IOPS by QEMU's are to be at least. */
const WORK = [
  { name: 'random read', access: 'randread', blockSize: 4 * KIB, depth: 1, target: 1 },
  { name: 'random read', access: 'randread', blockSize: 4 * KIB, depth: 32, target: 1.5 },
  { name: 'random write', access: 'randwrite', blockSize: 4 * KIB, depth: 1, target: 1 },
  { name: 'random write', access: 'randwrite', blockSize: 4 * KIB, depth: 32, target: 1.5 },
  { name: 'read', access: 'read', blockSize: 128 * KIB, depth: 8, target: 1 },
  { name: 'write', access: 'write', blockSize: 128 * KIB, depth: 8, target: 1 },
] as const

/** A disk as the guest finds it. */
interface Disk {
  readonly name: string
  readonly device: string
  /** Those whose work it is. */
  readonly pids: readonly number[]
  readonly isReference: boolean
}

export const nvmeGuest: Part = {
  name: 'nvme-guest',
  about: 'fio in a guest on a disk of drivers/nvme, beside QEMU’s own nvme (TCG)',
  async measure(bench) {
    const progress = { onProgress: (line: string) => bench.tell(line) }
    const assets = await prepareVm(progress)
    const tools = await diskToolFiles(['fio'], progress)
    bench.tell('writing images')
    const own = makeImage(bench.directory, 'own.img', IMAGE_MIB)
    const reference = makeImage(bench.directory, 'reference.img', IMAGE_MIB)
    await using running = new Running()
    const host = await startNvmeHost(bench, running, bench.allowed, own)
    bench.tell('booting')
    const argv = pinned(bench.allowed, assets.qemu.argv)
    const vm = running.add(
      await bootGuest({
        assets: { ...assets, qemu: { ...assets.qemu, argv } },
        init: shellInit,
        files: tools,
        modules: ['nvme'],
        memoryMiB: 512,
        devices: [
          ['-drive', `file=${reference},format=raw,if=none,id=reference,cache=writeback`],
          ['-device', `nvme,drive=reference,serial=${REFERENCE_SERIAL}`],
          ['-device', vfioUserDevice(host.socket)],
        ],
        ...PATIENCE,
      }),
    )
    const disks: readonly Disk[] = [
      {
        name: REFERENCE,
        device: await deviceOf(vm, REFERENCE_SERIAL),
        pids: [vm.pid],
        isReference: true,
      },
      {
        name: 'mdevkit',
        device: await deviceOf(vm, SERIAL),
        pids: [vm.pid, host.child.pid],
        isReference: false,
      },
    ]
    const guest = new FioGuest(vm, bench)
    for (const disk of disks) await guest.learnStart(disk)
    const cases = WORK.map((work): Case => ({
      labels: [`${work.blockSize / KIB} KiB ${work.name}`, String(work.depth)],
      contestants: disks.map((disk) => guest.contestant(disk, work)),
    }))
    const table = {
      title: `fio in a guest of QEMU ${assets.qemu.version}`,
      labels: ['I/O', 'depth'],
      figures: [
        { name: 'iops', title: 'IOPS', digits: 0, compared: true, moreIsBetter: true },
        { name: 'bandwidth', title: 'MB/s' },
        { name: 'cpu', title: 'CPU us', digits: 0, compared: true },
      ],
      reference: REFERENCE,
      notes: [
        `One guest, of one processor, with both disks: images of ${IMAGE_MIB} MiB, written before, in the host’s page cache.`,
        'CPU: of the host, for each I/O: QEMU, which emulates the guest’s processor, and for ours the process that serves it too. What fio takes to start is left out.',
        `All of them may use the processors ${bench.allowed.join()}.`,
      ],
    }
    return await compare(bench, table, cases) // before the guest ends
  },
}

/** Runs fio on its disks. */
class FioGuest {
  readonly #vm: Guest
  readonly #bench: Bench
  /** Processor time that starting and ending fio takes, by disk, ns. */
  readonly #starts = new Map<Disk, number>()

  constructor(vm: Guest, bench: Bench) {
    this.#vm = vm
    this.#bench = bench
  }

  /** Finds out what one block costs: the second time, when the guest’s code is translated. */
  async learnStart(disk: Disk): Promise<void> {
    const { device } = disk
    const job = { device, access: 'randread', blockSize: 4 * KIB, depth: 1 } as const
    for (let i = 0; i < 2; i++) this.#starts.set(disk, (await this.#run(disk, job)).ns)
  }

  contestant(disk: Disk, { access, blockSize, depth, target }: (typeof WORK)[number]): Contestant {
    const { name, device, pids, isReference } = disk
    const { quick } = this.#bench
    const job = { device, access, blockSize, depth, seconds: quick ? QUICK_SECONDS : SECONDS }
    return {
      name,
      targets: isReference ? undefined : { iops: target },
      measure: async (quietly) =>
        quietly(pids, async () => {
          const { count, iops, bandwidth, ns } = await this.#run(disk, job)
          const cpu = (ns - this.#starts.get(disk)!) / count / 1000
          return { iops, bandwidth: bandwidth / MB, cpu }
        }),
    }
  }

  async #run({ pids }: Disk, job: FioJob): Promise<FioResult & { readonly ns: number }> {
    const before = pids.map(cpuTime)
    const output = await runIn(this.#vm, fioCommand(job))
    const used = pids.map((pid, index) => cpuTimeSince(before[index]!, cpuTime(pid)).ns)
    return { ...parseFio(output, job), ns: used.reduce((sum, ns) => sum + ns, 0) }
  }
}

/** The guest’s name of the disk with that serial number: drivers probe in any order. */
async function deviceOf(vm: Guest, serial: string): Promise<string> {
  const found = await runIn(vm, `cd /sys/block && grep -lw ${serial} nvme*/device/serial; cd /`)
  return `/dev/${found.split('/')[0]}`
}

async function runIn(vm: Guest, command: string): Promise<string> {
  const { status, output } = await vm.run(`(${command}) 2>&1`, PATIENCE)
  if (status !== 0) throw new ErrnoError('EIO', `in the guest: ${command}: ${output.trim()}`)
  return output
}
