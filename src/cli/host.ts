/** `mdevkit host`: one parent with no mdevs yet, managed over its control socket, until it is unregistered or told to end. */
import { ControlServer } from '../host/control-server.ts'
import { loadDriver } from '../host/driver-loader.ts'
import { FileClaims } from '../host/file-claims.ts'
import { Host, type HostOptions } from '../host/host.ts'
import { hostSocket, runtimeRoot } from '../host/paths.ts'
import { createLogger } from '../lib/log.ts'
import { Unwind } from '../lib/unwind.ts'
import { endOfRun } from './end-of-run.ts'
import { StrayFaults } from './stray-faults.ts'

export interface HostCommandOptions {
  readonly name?: string
  /** Whether it is that name or none: then it is claimed before the driver is loaded, however long that takes. */
  readonly exact?: boolean
  readonly set?: NonNullable<HostOptions['settings']>
  readonly verbose?: boolean
}

/**
 * Runs until the parent is unregistered, or SIGINT or SIGTERM; then nothing is left behind.
 *
 * @throws what refuses the driver, a setting, the control socket, or an exact name · what the driver's `open` throws
 */
export async function host(specifier: string, options: HostCommandOptions): Promise<void> {
  const { name, exact = false, set: settings = [], verbose = false } = options
  const log = createLogger(verbose ? 'debug' : 'info')
  const root = runtimeRoot()
  const end = new AbortController()
  const faults = new StrayFaults(log)
  const ended = endOfRun(end.signal, (error) => faults.note(error))
  using unclaim = new Unwind()
  const claim =
    exact && name !== undefined ? new FileClaims(root).claimExactParent(name) : undefined
  if (claim !== undefined) unclaim.defer(() => claim.release())
  const driver = await loadDriver(specifier)
  const served = await Host.register({
    driver,
    log,
    root,
    settings,
    ...(name === undefined ? {} : { name }),
    ...(claim === undefined ? {} : { claim }),
  })
  faults.parent = served.parent
  try {
    const path = hostSocket(root, served.parent.name)
    const control = new ControlServer({
      host: served,
      path,
      log,
      onUnregistered: () => end.abort(),
    })
    try {
      process.stdout.write(`${JSON.stringify({ parent: served.parent.name, control: path })}\n`)
      await ended
    } finally {
      control.close()
    }
  } finally {
    served.close(log)
    await served.closed
  }
}
