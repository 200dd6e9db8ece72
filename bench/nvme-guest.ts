/** Through QEMU: what fio reaches in a guest on our disk, beside QEMU's own `-device nvme`, in the same guest. */
import { setTimeout as sleep } from 'node:timers/promises'
import { vfioUserDevice } from '../src/host/vmm-arguments.ts'
import { ErrnoError } from '../src/lib/errno.ts'
import { diskToolFiles } from '../vm/disk-tools.ts'
import { bootGuest, type Guest } from '../vm/guest.ts'
import { prepareVm } from '../vm/prepare.ts'
import { shellInit } from '../vm/shell.ts'
import { compare } from './comparison.ts'
import { cpuTime } from './cpu-time.ts'
import { fioCommand, type FioJob, type FioResult, parseBlockStat, parseFio } from './fio.ts'
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
/** For what share of that time processor time is taken. */
const WINDOW = 0.6
/** How often is looked whether it has begun. */
const MOST_LOOKS = 100
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
    const cases = WORK.map((work): Case => ({
      labels: [`${work.blockSize / KIB} KiB ${work.name}`, String(work.depth)],
      contestants: disks.map((disk) => contestant(vm, bench, disk, work)),
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
        'CPU: of the host, for each I/O: QEMU, which emulates the guest’s processor, and for ours the process that serves it too. Taken while fio is at it, not while it starts.',
        `All of them may use the processors ${bench.allowed.join()}.`,
      ],
    }
    return await compare(bench, table, cases) // before the guest ends
  },
}

function contestant(
  vm: Guest,
  bench: Bench,
  disk: Disk,
  { access, blockSize, depth, target }: (typeof WORK)[number],
): Contestant {
  const { name, device, pids, isReference } = disk
  const seconds = bench.quick ? QUICK_SECONDS : SECONDS
  const job = { device, access, blockSize, depth, seconds }
  return {
    name,
    targets: isReference ? undefined : { iops: target },
    measure: async (quietly) =>
      quietly(pids, async () => {
        const { iops, bandwidth, cpu } = await runFio(vm, disk, job)
        return { iops, bandwidth: bandwidth / MB, cpu: cpu / 1000 }
      }),
  }
}

/** What a disk has done so far, and at what cost. */
interface Reading {
  /** Reads and writes that have ended. */
  readonly count: number
  /** Processor time, ns. */
  readonly ns: number
}

/** @returns besides what fio says, the processor time of each I/O while it is at it, ns: not while it starts and ends */
async function runFio(
  vm: Guest,
  disk: Disk,
  job: FioJob,
): Promise<FioResult & { readonly cpu: number }> {
  const idle = await readingOf(vm, disk)
  await runIn(vm, `${fioCommand(job)} >/tmp/fio 2>&1 &`)
  let first = await readingOf(vm, disk)
  for (let i = 0; i < MOST_LOOKS && first.count === idle.count; i++)
    first = await readingOf(vm, disk)
  await sleep(job.seconds * WINDOW * 1000)
  const last = await readingOf(vm, disk)
  const output = await runIn(vm, 'while pidof fio >/dev/null; do sleep 0.1; done; cat /tmp/fio')
  return { ...parseFio(output, job), cpu: (last.ns - first.ns) / (last.count - first.count) }
}

async function readingOf(vm: Guest, { device, pids }: Disk): Promise<Reading> {
  const stat = await runIn(vm, `cat /sys/block/${device.slice('/dev/'.length)}/stat`)
  const ns = pids.reduce((sum, pid) => sum + cpuTime(pid).ns, 0)
  return { count: parseBlockStat(stat), ns }
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
