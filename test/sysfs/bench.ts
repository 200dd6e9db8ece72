/** A tree over hosts in this process, as a daemon has it, without a mount. */
import { SysfsHosts } from '../../src/daemon/sysfs-hosts.ts'
import type { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import type { TreeChange } from '../../src/lib/tree.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { SysfsTree } from '../../src/sysfs/sysfs-tree.ts'
import { Daemon, type Found } from '../daemon/support.ts'
import { Client } from '../mdev/support.ts'
import { Walker } from './walker.ts'

export class Bench implements Disposable {
  readonly daemon = new Daemon()
  readonly tree = new SysfsTree(
    new SysfsHosts(this.daemon.hosts, this.daemon.machine),
    silentLogger,
  )
  readonly walker = new Walker(this.tree)
  readonly changes: TreeChange[] = []

  static async start(drivers: Readonly<Record<string, Driver>>): Promise<Bench> {
    const bench = new Bench()
    for (const [name, driver] of Object.entries(drivers)) await bench.host(name, driver)
    bench.tree.subscribe((change) => bench.changes.push(change))
    return bench
  }

  async host(name: string, driver: Driver): Promise<Found> {
    return this.daemon.host(driver, name)
  }

  /** A client that has an mdev open. */
  client(host: Host, uuid: string): Client {
    return new Client(host.parent.mdev(uuid))
  }

  [Symbol.dispose](): void {
    this.tree.close()
    this.daemon[Symbol.dispose]()
  }
}

/** `$(u N)` of the transcript. */
export function u(number: number): string {
  const digits = number.toString(16).padStart(8, '0')
  return `${digits}-0000-4000-8000-0000${digits}`
}

export const CLASS = '/class/mdev_bus'
export const DEVICES = '/bus/mdev/devices'

/** The `create` of a type. */
export function createOf(parent: string, type: string): string {
  return `${CLASS}/${parent}/mdev_supported_types/${type}/create`
}
