/** What there is on this machine: as the daemon tells it or, where none answers, as the hosts themselves do. */
import { readdirSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { ControlClient } from '../host/control-client.ts'
import { type ForegroundMdev, foregroundMdevs } from '../host/foreground-mdevs.ts'
import { hostSocket } from '../host/paths.ts'
import { ApiClient, apiSocket, type DaemonHealth } from '../http/client.ts'
import type { DefinitionFault, MdevView, ParentView } from '../http/model.ts'
import { UnreachableError } from '../http/unreachable-error.ts'
import { describeError, errnoOf } from '../lib/errno.ts'
import { DENIED, exitCodeOf } from './exit-codes.ts'

export interface MachineView {
  /** Undefined: none answers, for that reason, and nothing is known of definitions. */
  readonly daemon: DaemonHealth | undefined
  readonly unreachable?: UnreachableError
  readonly parents: readonly ParentView[]
  readonly mdevs: readonly MdevView[]
  readonly faults: readonly DefinitionFault[]
  /** What is run past every daemon, and not managed by any. */
  readonly foreground: readonly ForegroundMdev[]
  /** Hosts that listen and do not answer: why, in one line each. */
  readonly silent: readonly string[]
}

/** How long a daemon may take to tell of what it knows. */
const TIMEOUT_MS = 5000

/** @throws EACCES one may not connect to the daemon · what the daemon refuses */
export async function viewMachine(root: string): Promise<MachineView> {
  const api = new ApiClient(apiSocket(root), { timeoutMs: TIMEOUT_MS })
  try {
    const [daemon, parents, { mdevs, faults }] = await Promise.all([
      api.health(),
      api.parents(),
      api.list(),
    ])
    return { daemon, parents, mdevs, faults, foreground: foregroundMdevs(root), silent: [] }
  } catch (error) {
    if (!(error instanceof UnreachableError) || exitCodeOf(error) === DENIED) throw error
    const foreground = foregroundMdevs(root)
    const none = { daemon: undefined, unreachable: error, faults: [], foreground }
    return { ...none, ...(await viewHosts(root)) }
  }
}

async function viewHosts(root: string): Promise<Pick<MachineView, 'parents' | 'mdevs' | 'silent'>> {
  const directory = dirname(hostSocket(root, ''))
  const parents: ParentView[] = []
  const silent: string[] = []
  await Promise.all(
    socketsIn(directory).map(async (name) => {
      try {
        const host = await ControlClient.connect(join(directory, name))
        parents.push({ ...host.parent, pid: host.pid })
        host.close()
      } catch (error) {
        if (!LEFT_BEHIND.has(errnoOf(error)))
          silent.push(`host of ${basename(name, SUFFIX)}: ${describeError(error)}`)
      }
    }),
  )
  parents.sort((a, b) => (a.name < b.name ? -1 : 1))
  const mdevs = parents.flatMap(({ name: parent, mdevs: active }) =>
    active
      .toSorted((a, b) => (a.uuid < b.uuid ? -1 : 1))
      .map((each) => ({ uuid: each.uuid, parent, active: each })),
  )
  return { parents, mdevs, silent: silent.toSorted() }
}

const SUFFIX = '.sock'
/** ENOENT, ECONNREFUSED: a socket whose host was killed. */
const LEFT_BEHIND = new Set([2, 111])

function socketsIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory).filter((name) => name.endsWith(SUFFIX))
  } catch {
    return [] // no host has ever run there
  }
}
