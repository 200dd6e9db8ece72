/** `mdevkit daemon`: the control plane of a machine, in the foreground until it is told to end. */
import { resolve } from 'node:path'
import { type DaemonConfig, loadConfig } from '../daemon/config.ts'
import { Daemon } from '../daemon/daemon.ts'
import { Notifier, takeServiceManager } from '../daemon/notify.ts'
import { runtimeRoot } from '../host/paths.ts'
import { apiSocket } from '../http/client.ts'
import { systemClock } from '../lib/clock.ts'
import { describeError } from '../lib/errno.ts'
import { createLogger } from '../lib/log.ts'
import { endOfRun } from './end-of-run.ts'

export interface DaemonCommandOptions {
  readonly config?: string
  readonly definitions?: string
  readonly verbose?: boolean
}

/**
 * Runs until SIGINT or SIGTERM. Hosts live on. At SIGHUP it reads its configuration again.
 *
 * @param version of mdevkit
 * @throws what refuses the configuration, the root, or a second daemon
 */
export async function daemon(options: DaemonCommandOptions, version: string): Promise<void> {
  const log = createLogger(options.verbose === true ? 'debug' : 'info')
  const ended = endOfRun()
  const hangUps = new HangUps()
  const manager = takeServiceManager() // before any host is started
  const root = runtimeRoot()
  const config = configOf(options)
  const notifier = new Notifier(manager, systemClock, log)
  const running = await Daemon.start({
    root,
    config,
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
    hangUps.listen(() => {
      notifier.reloading()
      try {
        running.reload(configOf(options))
        notifier.reloaded(`serving ${api}`)
      } catch (error) {
        const fault = `configuration: nothing has changed: ${describeError(error)}`
        log.error(fault)
        notifier.reloaded(fault)
      }
    })
    await ended
  } finally {
    hangUps.listen(() => {})
    notifier.stopping()
    await running.close()
  }
}

/** @throws as loadConfig */
function configOf({ config: path, definitions }: DaemonCommandOptions): DaemonConfig {
  const config = loadConfig(path)
  return definitions === undefined ? config : { ...config, definitions: resolve(definitions) }
}

/** SIGHUPs, which end nothing from the first; one that comes before anybody listens is told when somebody does. */
class HangUps {
  #isMissed = false
  #listener = (): void => {
    this.#isMissed = true
  }

  constructor() {
    process.on('SIGHUP', () => this.#listener())
  }

  listen(listener: () => void): void {
    this.#listener = listener
    if (this.#isMissed) listener()
    this.#isMissed = false
  }
}
