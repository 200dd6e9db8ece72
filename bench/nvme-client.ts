/** Without a guest: blocks of a disk through its controller by mdevkit's own client, beside the same blocks of the file itself. */
import { fileURLToPath } from 'node:url'
import { BLOCK_ACCESSES, type BlockAccess, type BlockFigures } from './block-load.ts'
import { compileC } from './c-programs.ts'
import { Child } from './child.ts'
import { compare } from './comparison.ts'
import { cpuTime, cpuTimeSince } from './cpu-time.ts'
import { makeImage, startNvmeHost } from './nvme-disk.ts'
import type { Bench, Part } from './part.ts'
import { type Placement, PLACEMENT_NAMES, placementNote, processorsOf } from './pinning.ts'
import type { Case, Contestant, Figures } from './rounds.ts'
import { Running } from './server.ts'

const REFERENCE = 'file'
const PROGRAM = fileURLToPath(new URL('./block-loads.js', import.meta.url))
const IMAGE_MIB = 64
const IMAGE = IMAGE_MIB * 2 ** 20
const DEPTHS = [1, 32, 128]
const SAMPLE_MS = 500
const QUICK_MS = 50

/** The processes of a placement. */
interface Stage {
  readonly placement: Placement
  readonly image: string
  readonly socket: string
  /** Has the image, on the server's processor. */
  readonly host: Child
  /** Loads the host, on the client's processor. */
  readonly client: Child
  /** These load the file, on the server's processor. */
  readonly direct: Child
  readonly c: Child
}

export const nvmeClient: Part = {
  name: 'nvme-client',
  about:
    'blocks of 4 KiB through drivers/nvme by mdevkit’s client, beside the same of its file with no device',
  async measure(bench) {
    await using running = new Running()
    const stages: Stage[] = []
    for (const placement of bench.placements)
      stages.push(await startStage(bench, running, placement))
    const cases = BLOCK_ACCESSES.flatMap((access) =>
      DEPTHS.flatMap((depth) => stages.map((stage) => caseOf(bench, stage, access, depth))),
    )
    const table = {
      title: `Blocks of 4 KiB at random places of a disk of ${IMAGE_MIB} MiB`,
      labels: ['access', 'depth', 'processors'],
      figures: [
        { name: 'iops', title: 'IOPS', digits: 0, compared: true },
        { name: 'cpu', title: 'CPU us', digits: 2, compared: true },
        { name: 'rings', title: 'rings', digits: 2 },
      ],
      reference: REFERENCE,
      notes: [
        'The image was written before, and is in the page cache. IOPS / file is the share of the time that the file itself takes.',
        'file: AsyncFile, what the driver uses, in a process with no device. C: pread and pwrite, one after the other.',
        'eventfd: each doorbell is rung. memory: doorbells are kept in memory, and rung where the controller wants that. rings: for each block, both queues.',
        'CPU: of the process that has the file, for each block. The client’s is not in it.',
        placementNote(bench.allowed),
      ],
    }
    return await compare(bench, table, cases) // before the processes end
  },
}

async function startStage(bench: Bench, running: Running, placement: Placement): Promise<Stage> {
  bench.tell(`starting, processors: ${PLACEMENT_NAMES[placement]}`)
  const { client, server } = processorsOf(placement, bench.allowed)
  const image = makeImage(bench.directory, `${placement}.img`, IMAGE_MIB)
  const { child: host, socket } = await startNvmeHost(bench, running, server, image)
  const start = async (processor: number, ...command: string[]) =>
    running.add(await Child.start('load', processor, command))
  return {
    placement,
    image,
    socket,
    host,
    client: await start(client, process.execPath, PROGRAM),
    direct: await start(server, process.execPath, PROGRAM),
    c: await start(server, compileC('blocks', bench.directory), image),
  }
}

function caseOf(bench: Bench, stage: Stage, access: BlockAccess, depth: number): Case {
  const { image, socket, host, client, direct, c } = stage
  const work = `${IMAGE} ${access} ${depth}`
  const ms = bench.quick ? QUICK_MS : SAMPLE_MS
  return {
    labels: [access, String(depth), PLACEMENT_NAMES[stage.placement]],
    contestants: [
      loading(REFERENCE, {
        load: direct,
        worker: direct,
        ready: `file ${image} ${work}`,
        go: `${ms}`,
      }),
      ...(depth === 1 ? [loading('C', { load: c, worker: c, go: `${access} ${ms}` })] : []),
      ...['eventfd', 'memory'].map((way) =>
        loading(`mdevkit, ${way}`, {
          load: client,
          worker: host,
          ready: `${way} ${socket} ${work}`,
          go: `${ms}`,
        }),
      ),
    ],
  }
}

interface Loading {
  /** Who loads. */
  readonly load: Child
  /** Whose processor time counts. */
  readonly worker: Child
  /** What it is told first, where it has to get ready. */
  readonly ready?: string
  readonly go: string
}

function loading(name: string, { load, worker, ready, go }: Loading): Contestant {
  const getReady = async () => {
    if (ready === undefined) return
    load.send(ready)
    await load.next<{ ready: true }>()
  }
  const run = async (): Promise<Figures> => {
    const before = cpuTime(worker.pid)
    load.send(go)
    const {
      count,
      ms,
      rings = 0,
    } = await load.next<Omit<BlockFigures, 'rings'> & { rings?: number }>()
    const used = cpuTimeSince(before, cpuTime(worker.pid))
    return { iops: (count * 1000) / ms, cpu: used.ns / count / 1000, rings: rings / count }
  }
  return {
    name,
    rehearse: async () => {
      await getReady()
      await run()
    },
    measure: async (quietly) => {
      await getReady()
      return quietly([load.pid, worker.pid], run)
    },
  }
}
