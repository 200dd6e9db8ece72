/** Hosts in this process, each with its control socket, as a daemon finds them. */
import { once } from 'node:events'
import { join } from 'node:path'
import { DefinitionStore } from '../../src/daemon/definition-store.ts'
import { Hosts } from '../../src/daemon/hosts.ts'
import { Machine } from '../../src/daemon/machine.ts'
import type { ControlClient } from '../../src/host/control-client.ts'
import { ControlServer } from '../../src/host/control-server.ts'
import { Host } from '../../src/host/host.ts'
import { hostSocket } from '../../src/host/paths.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { Scratch } from '../support/scratch.ts'

/** A parent that a daemon can find, until it is closed. */
export interface Found {
  readonly host: Host
  /** Ends it, as a crash of its process would. */
  close(): void
}

export class Daemon implements Disposable {
  readonly scratch = new Scratch()
  readonly root = join(this.scratch.path, 'root')
  readonly definitions = new DefinitionStore(join(this.scratch.path, 'mdevctl.d'))
  readonly hosts = new Hosts(this.root, silentLogger)
  readonly machine = new Machine(this.hosts, this.definitions)
  readonly #found = new Set<Found>()

  /** Starts a host, and waits until it has been found. */
  async host(driver: Driver, name: string): Promise<Found> {
    const host = new Host({ driver, log: silentLogger, root: this.root, name })
    const control = new ControlServer({
      host,
      path: hostSocket(this.root, host.parent.name),
      log: silentLogger,
      onUnregistered: () => found.close(),
    })
    const found: Found = {
      host,
      close: () => {
        this.#found.delete(found)
        control.close()
        host.close()
      },
    }
    this.#found.add(found)
    for (;;) {
      const [up] = (await once(this.hosts, 'up')) as [ControlClient]
      if (up.parent.name === name) return found
    }
  }

  [Symbol.dispose](): void {
    this.hosts.close()
    for (const found of this.#found) found.close()
    this.scratch[Symbol.dispose]()
  }
}
