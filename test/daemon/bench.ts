/** Daemons in this process, with hosts that they find, over one root. */
import { join } from 'node:path'
import { parseConfig } from '../../src/daemon/config.ts'
import { Daemon, type DaemonOptions, definitionsDirectory } from '../../src/daemon/daemon.ts'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { ControlServer } from '../../src/host/control-server.ts'
import { Host } from '../../src/host/host.ts'
import { hostSocket } from '../../src/host/paths.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { driverOf } from '../mdev/support.ts'
import { Scratch } from '../support/scratch.ts'

export class Bench implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly client = new ApiClient(apiSocket(this.root))
  readonly store = new DefinitionStore(definitionsDirectory(this.root))
  readonly #running: { close(): void | Promise<void> }[] = []

  async daemon(config = parseConfig('', '/x'), rest: Partial<DaemonOptions> = {}): Promise<Daemon> {
    const { root } = this
    const options = { root, config, log: silentLogger, version: '1.2.3', ...rest }
    const daemon = await Daemon.start(options)
    this.#running.unshift(daemon)
    return daemon
  }

  host(name: string, driver: Driver = driverOf()): Host {
    const host = new Host({ driver, log: silentLogger, root: this.root, name })
    const path = hostSocket(this.root, name)
    const onUnregistered = () => {
      control.close()
      host.close()
    }
    const control = new ControlServer({ host, path, log: silentLogger, onUnregistered })
    this.#running.push(control, host)
    return host
  }

  /** Ends daemons and hosts of this process. */
  async close(): Promise<void> {
    for (const running of this.#running.splice(0)) await running.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
    this.scratch[Symbol.dispose]()
  }
}
