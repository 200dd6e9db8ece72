/** `mdevkit host`: one parent with no mdevs yet, managed over its control socket, until it is unregistered or told to end. */
import { ControlServer } from '../host/control-server.ts'
import { loadDriver } from '../host/driver-loader.ts'
import { Host, type HostOptions } from '../host/host.ts'
import { hostSocket } from '../host/paths.ts'
import { createLogger } from '../lib/log.ts'
import { endOfRun } from './end-of-run.ts'

export interface HostCommandOptions {
  readonly name?: string
  readonly set: NonNullable<HostOptions['settings']>
  readonly verbose?: boolean
}

/**
 * Runs until the parent is unregistered, or SIGINT or SIGTERM; then nothing is left behind.
 *
 * @throws what refuses the driver, a setting, or the control socket · what the driver's `open` throws
 */
export async function host(specifier: string, options: HostCommandOptions): Promise<void> {
  const log = createLogger(options.verbose === true ? 'debug' : 'info')
  const end = new AbortController()
  const ended = endOfRun(end.signal)
  const driver = await loadDriver(specifier)
  const served = await Host.register({
    driver,
    log,
    settings: options.set,
    ...(options.name === undefined ? {} : { name: options.name }),
  })
  try {
    const path = hostSocket(served.root, served.parent.name)
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
