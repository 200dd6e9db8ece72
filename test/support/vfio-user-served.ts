/** A device served at a UNIX socket of this process, as a host does it. */
import { once } from 'node:events'
import { Host } from '../../src/host/host.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { createLogger } from '../../src/lib/log.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import type { ServerStats } from '../../src/vfio-user/served-client.ts'
import { Scratch } from './scratch.ts'
import { TestDevice } from './vfio-user-device.ts'

export const UUID = '83c32df7-d7a5-4d9e-8c3a-6c0a4a2b1f0e'

export class Served implements Disposable {
  readonly host: Host
  readonly mdev: MdevDevice
  readonly path: string
  /** What was logged, from debug on. */
  readonly lines: readonly string[]
  readonly #scratch: Scratch

  private constructor(host: Host, mdev: MdevDevice, lines: readonly string[], scratch: Scratch) {
    this.host = host
    this.mdev = mdev
    this.path = host.socketOf(mdev)
    this.lines = lines
    this.#scratch = scratch
  }

  /** Serves one mdev. @param type the id of one of the driver's types @param clock the machine's unless given */
  static async start(driver: Driver, type = '1', clock?: Clock): Promise<Served> {
    const scratch = new Scratch()
    const lines: string[] = []
    const log = createLogger('debug', (line) => lines.push(line))
    const host = new Host({
      driver,
      log,
      root: scratch.path,
      ...(clock === undefined ? {} : { clock }),
    })
    const mdev = await host.create(`${driver.name}-${type}`, UUID)
    return new Served(host, mdev, lines, scratch)
  }

  get stats(): ServerStats {
    const { server } = this.host.statsOf(this.mdev)
    if (server === undefined) throw new Error('the mdev is not served any more')
    return server
  }

  /** Waits until no client is attached, of those that the server has seen, and what the last one gave is closed. */
  async idle(): Promise<void> {
    if (this.mdev.group.user !== undefined) await this.detached()
  }

  /** Waits for the next client to go, whether or not it has come yet. */
  async detached(): Promise<void> {
    await once(this.host.events, 'detach')
    await new Promise((resolve) => setImmediate(resolve)) // listeners are told in the midst of the clean-up
  }

  [Symbol.dispose](): void {
    this.host.close()
    this.#scratch[Symbol.dispose]()
  }
}

/** A {@link TestDevice} and its socket. */
export async function serveTestDevice(): Promise<{ device: TestDevice; served: Served }> {
  const device = new TestDevice()
  return { device, served: await Served.start(device.driver) }
}
