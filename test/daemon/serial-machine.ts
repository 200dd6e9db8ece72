/** A daemon with a parent whose host is a process of its own, and a client that is another. */
import assert from 'node:assert/strict'
import { parseConfig } from '../../src/daemon/config.ts'
import type { Daemon } from '../../src/daemon/daemon.ts'
import { hostLock } from '../../src/host/paths.ts'
import type { MdevSnapshot, ParentView } from '../../src/http/model.ts'
import { isLocked } from '../../src/os/file-lock.ts'
import { uuid } from '../mdev/support.ts'
import { ClientProcess } from '../support/client-process.ts'
import { killAllOf, processesOf } from '../support/root-processes.ts'
import { until } from '../support/until.ts'
import { Bench } from './bench.ts'

export const LOOPBACK = [['ports', 'loopback']] as const
/** What is said of the parent while it is away. */
export const BACK = 'unregistered; mdevkit register serial brings it back'

export class SerialMachine extends Bench {
  readonly holder = new ClientProcess()

  /** @param driver of the parent `serial` */
  async serial(driver = 'mtty'): Promise<Daemon> {
    return this.daemon({ ...parseConfig('', '/x'), parents: new Map([['serial', { driver }]]) })
  }

  async view(): Promise<ParentView> {
    const found = (await this.client.parents()).find(({ name }) => name === 'serial')
    assert.ok(found)
    return found
  }

  /** Resolves once it has a host. @returns its pid */
  async up(): Promise<number> {
    return until(async () => (await this.view()).pid ?? false, 'a host')
  }

  async mtty(number = 1): Promise<MdevSnapshot> {
    return this.client.start({
      parent: 'serial',
      type: 'mtty-1',
      uuid: uuid(number),
      attributes: LOOPBACK,
    })
  }

  /** An mdev that another process has open. */
  async held(number = 1): Promise<MdevSnapshot> {
    const mdev = await this.mtty(number)
    assert.equal(await this.holder.attach(mdev.socket ?? ''), 'attached')
    return mdev
  }

  /** Resolves once it is being unregistered, and waits for the client. */
  async waiting(): Promise<ParentView> {
    return until(async () => {
      const view = await this.view()
      assert.equal(view.state, 'unregistering')
      assert.ok(view.waits !== undefined)
      return view
    })
  }

  /** Nobody runs it, and nobody is about to: else what it waits for would be that. */
  async assertGone(pid: number): Promise<void> {
    const { state, pid: now, waits, mdevs } = await this.view()
    assert.deepEqual([state, now, waits, mdevs], ['unregistered', undefined, BACK, []])
    assert.ok(!isLocked(hostLock(this.root, 'serial')))
    assert.ok(!processesOf(this.root).includes(pid))
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.holder.kill()
    await this.close()
    await killAllOf(this.root)
    await super[Symbol.asyncDispose]()
  }
}
