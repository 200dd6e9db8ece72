/**
 * The host that is fuzzed, as a program: serves one device of each kind that its arguments name, after the run-time root, and
 * says over IPC what it holds. It runs with --expose-gc.
 */
import { Host } from '../../src/host/host.ts'
import { createLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import { DELIBERATE, fuzzedDriver } from './fuzz-device.ts'
import { mappingCount, type Resources, resourcesOf } from './resources.ts'

/** Lines of the log that are kept, to be shown when something goes wrong. */
const KEPT_LINES = 300
/** Rounds of collection and of the event loop, in which finalizers get their turn. */
const COLLECTIONS = 4

/** What is asked: to say what it holds, after everything that is unused has been collected or as it is. */
export type HostRequest = 'now' | 'collected'

export interface HostReport extends Resources {
  readonly kind: 'report'
  /** Bytes, like `rss`; without buffers, among which are the windows. */
  readonly heap: number
  readonly rss: number
  /** Of any kind. */
  readonly mappings: number
  /** Clients attached now. */
  readonly attached: number
  /** The last lines logged, from debug on. */
  readonly log: readonly string[]
}

/** What it says: where the devices are; what it holds; an error that no driver made on purpose, with its stack. */
export type HostMessage =
  | { readonly kind: 'ready'; readonly sockets: readonly string[] }
  | HostReport
  | { readonly kind: 'fault'; readonly text: string }

const [root = '', ...kinds] = process.argv.slice(2)
const lines: string[] = []
/** A line about an error that nobody made on purpose; the next one has its stack. */
let faulty: string | undefined
const log = createLogger('debug', (line) => {
  if (lines.push(line) > 2 * KEPT_LINES) lines.splice(0, KEPT_LINES)
  if (faulty !== undefined) say({ kind: 'fault', text: `${faulty}\n${line}` })
  faulty = line.startsWith('error: ') && !line.includes(DELIBERATE) ? line : undefined
})
const collect = globalThis.gc

function say(message: HostMessage): void {
  process.send?.(message)
}

async function report(request: HostRequest): Promise<HostReport> {
  const rounds = request === 'collected' ? COLLECTIONS : 0
  for (let i = 0; i < rounds; i++) {
    collect?.()
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
  const { heapUsed: heap, rss } = process.memoryUsage()
  return {
    kind: 'report',
    ...resourcesOf(),
    mappings: mappingCount(),
    heap,
    rss,
    attached: mdevs.filter((mdev) => mdev.group.user !== undefined).length,
    log: lines.slice(-KEPT_LINES),
  }
}

const host = new Host({ driver: fuzzedDriver, log, root })
const mdevs = await Promise.all(kinds.map((kind) => host.create(`fuzzed-${kind}`, freshUuid())))
process.on('message', (request: HostRequest) => void report(request).then(say))
process.once('disconnect', () => host.close())
say({ kind: 'ready', sockets: mdevs.map((mdev) => host.socketOf(mdev)) })
