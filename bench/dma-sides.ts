/** The processes that guest memory is measured in: the guest, whose it is, and those that use it, in C and behind mdevkit. */
import { fileURLToPath } from 'node:url'
import { compileC } from './c-programs.ts'
import { Child } from './child.ts'
import type { Bench } from './part.ts'
import { processorsOf, type Processors } from './pinning.ts'
import type { Contestant, Figures } from './rounds.ts'
import type { Running } from './server.ts'

const BATCHES = 10
const QUICK_BATCHES = 3
/** Until compilers have found their form. */
const REHEARSAL = 5

/** A host that serves a guest, and has been told where its memory is. */
interface Served {
  readonly host: Child
  /** The file that the guest's memory is. */
  readonly memory: string
}

/**
 * Starts a host with a guest.
 *
 * @param size  bytes of the guest's memory
 * @param flags of bench/c/dma-guest.c
 */
export async function startDmaHost(
  bench: Bench,
  running: Running,
  { client, server }: Processors,
  size: number,
  ...flags: readonly string[]
): Promise<Served> {
  const program = compileC('dma-guest', bench.directory)
  const file = fileURLToPath(new URL('./dma-host.js', import.meta.url))
  const command = [process.execPath, file, bench.directory]
  const host = running.add(await Child.start('mdevkit', server, command))
  const { socket } = await host.next<{ socket: string }>()
  const guestCommand = [program, ...flags, String(size), socket]
  const guest = running.add(await Child.start('the guest', client, guestCommand))
  const { memory } = await guest.next<{ memory: string }>()
  host.send(`${memory} ${size}`)
  return { host, memory }
}

/** Both sides, on one processor; the guest sleeps. */
export interface Sides {
  readonly c: Child
  readonly mdevkit: Child
  /** The file that the memory is. */
  readonly memory: string
}

/** Starts both sides on memory of `size` bytes, which is faulted in everywhere. */
export async function startSides(bench: Bench, running: Running, size: number): Promise<Sides> {
  const processors = processorsOf(bench.placements[0]!, bench.allowed)
  bench.tell('starting')
  const { host, memory } = await startDmaHost(bench, running, processors, size)
  const program = compileC('dma', bench.directory)
  const command = [program, memory, String(size)]
  const c = running.add(await Child.start('dma', processors.server, command))
  await c.next<{ ready: true }>()
  await askFor(host, 'touch', 1)
  return { c, mdevkit: host, memory }
}

/** Has a side do a job. @returns its answer */
export async function askFor<T>(side: Child, job: string, batches: number): Promise<T> {
  side.send(`${batches} ${job}`)
  return side.next<T>()
}

/** How a contestant of one case does it. */
export interface Doing {
  readonly name: string
  readonly side: Child
  readonly job: string
  readonly targets?: Figures
}

/** A contestant that does a job of bench/c/dma.c or dma-jobs.ts. @param figures what the time of one, ns, comes to */
export function doing(
  bench: Bench,
  { name, side, job, targets }: Doing,
  figures: (ns: number) => Figures,
): Contestant {
  const ask = async (batches: number) => (await askFor<{ ns: number }>(side, job, batches)).ns
  return {
    name,
    targets,
    rehearse: async () => void (await ask(bench.quick ? 1 : REHEARSAL)),
    measure: async (quietly) =>
      quietly([side.pid], async () => figures(await ask(bench.quick ? QUICK_BATCHES : BATCHES))),
  }
}
