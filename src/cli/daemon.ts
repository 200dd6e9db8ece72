/** `mdevkit daemon`: the control plane of a machine, in the foreground until it is told to end. */
import { resolve } from 'node:path'
import { loadConfig } from '../daemon/config.ts'
import { Daemon } from '../daemon/daemon.ts'
import { Notifier, takeServiceManager } from '../daemon/notify.ts'
import { runtimeRoot } from '../host/paths.ts'
import { apiSocket } from '../http/client.ts'
import { systemClock } from '../lib/clock.ts'
import { createLogger } from '../lib/log.ts'
import { endOfRun } from './end-of-run.ts'

export interface DaemonCommandOptions {
  readonly config?: string
  readonly definitions?: string
  readonly verbose?: boolean
}

/**
 * Runs until SIGINT or SIGTERM. Hosts live on.
 *
 * @param version of mdevkit
 * @throws what refuses the configuration, the root, or a second daemon
 */
export async function daemon(options: DaemonCommandOptions, version: string): Promise<void> {
  const log = createLogger(options.verbose === true ? 'debug' : 'info')
  const ended = endOfRun()
  const manager = takeServiceManager() // before any host is started
  const { definitions } = options
  const root = runtimeRoot()
  const config = loadConfig(options.config)
  const notifier = new Notifier(manager, systemClock, log)
  const running = await Daemon.start({
    root,
    config: definitions === undefined ? config : { ...config, definitions: resolve(definitions) },
    log,
    version,
    listenFds: manager.listenFds,
    sysfs: config.sysfs,
  })
  try {
    const api = apiSocket(root)
    const { tcpPort } = running
    const tcp = tcpPort === undefined ? {} : { tcp: tcpPort }
    notifier.ready(`serving ${api}`)
    process.stdout.write(`${JSON.stringify({ api, ...tcp })}\n`)
    await ended
  } finally {
    notifier.stopping()
    await running.close()
  }
}
