/** Parents that administrators unregister and register again: real hosts, real clients, and what goes wrong in the middle. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseConfig } from '../../src/daemon/config.ts'
import type { Daemon } from '../../src/daemon/daemon.ts'
import { hostLock } from '../../src/host/paths.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import type { MdevSnapshot, ParentView } from '../../src/http/model.ts'
import { isLocked } from '../../src/os/file-lock.ts'
import { ask } from '../http/support.ts'
import { uuid } from '../mdev/support.ts'
import { ClientProcess } from '../support/client-process.ts'
import { serve } from '../support/mdevkit.ts'
import { kill, killAllOf, processesOf } from '../support/root-processes.ts'
import { until } from '../support/until.ts'
import { Bench } from './bench.ts'

const LOOPBACK = [['ports', 'loopback']] as const
const BACK = 'unregistered; mdevkit register serial brings it back'

/** Its `remove` does not return, and so neither does anything else of its process. */
const STUCK = `
export const stuck = {
  name: 'stuck',
  types: { 1: {} },
  probe(mdev) {
    mdev.pci({ vendor: 0x4348, device: 0x3253, class: 0x070002 })
    return { reset() {}, remove() { for (;;) {} } }
  },
}
`

/** A daemon whose parent `serial` has a process for a host, and a client of it. */
class Machine extends Bench {
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
    await until(() => !processesOf(this.root).includes(pid), 'the host to have ended')
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.holder.kill()
    await this.close()
    await killAllOf(this.root)
    await super[Symbol.asyncDispose]()
  }
}

describe('unregister and register', () => {
  test('a parent goes, and stays away until it is registered again; then what is auto is started', async () => {
    await using machine = new Machine()
    const auto = { type: 'mtty-1', start: 'auto', attributes: LOOPBACK } as const
    machine.store.write({ parent: 'serial', uuid: uuid(1) }, auto)
    await machine.serial()
    const { client } = machine
    const pid = await machine.up()
    const active = async () =>
      until(async () => (await client.list()).mdevs[0]?.active?.state === 'active', 'autostart')
    await active()
    await client.unregister('serial')
    await machine.assertGone(pid)
    const [mdev] = (await client.list()).mdevs
    assert.equal(mdev?.waits, `parent serial: ${BACK}`)
    await assert.rejects(machine.mtty(2), { code: 'ENOENT', message: `parent serial: ${BACK}` })
    await assert.rejects(client.unregister('serial', { wait: true }), {
      code: 'ENODEV',
      message: `parent serial: ${BACK}`,
    })
    const view = await client.register('serial')
    assert.ok(view.pid !== undefined && view.pid !== pid)
    assert.deepEqual([view.state, view.waits], ['registered', undefined])
    await active()
    await assert.rejects(client.register('serial'), {
      code: 'EEXIST',
      message: `parent serial: its host is there, pid ${view.pid}`,
    })
    assert.ok(!existsSync(join(machine.root, 'unregistered')))
  })

  test('the numbers tell a parent that is away from one that should be there', async () => {
    await using machine = new Machine()
    await machine.serial()
    await machine.up()
    const numbers = async () => {
      const at = { socketPath: apiSocket(machine.root) }
      const { body } = await ask(at, 'GET', '/metrics')
      return String(body).match(/^mdevkit_parents\w* \d+$/gm)
    }
    const of = (there: number, away: number) => [
      `mdevkit_parents ${there}`,
      'mdevkit_parents_waiting 0',
      `mdevkit_parents_unregistered ${away}`,
    ]
    assert.deepEqual(await numbers(), of(1, 0))
    await machine.client.unregister('serial')
    assert.deepEqual(await numbers(), of(0, 1))
    assert.equal((await machine.view()).unregistered, true)
    await machine.client.register('serial')
    assert.deepEqual(await numbers(), of(1, 0))
  })

  test('a parent that nobody knows is ENOENT, and so is registering one that is not configured', async () => {
    await using machine = new Machine()
    await machine.daemon()
    machine.host('other')
    const { client } = machine
    await until(async () => (await client.parents()).length === 1, 'the host')
    await assert.rejects(client.unregister('none'), {
      code: 'ENOENT',
      message: 'parent none: no host runs it',
    })
    await assert.rejects(client.register('none'), {
      code: 'ENOENT',
      message: "parent none: not in the daemon's configuration",
    })
    await assert.rejects(client.register('other'), { code: 'EEXIST' })
    for (const name of ['../hosts/other', '.', '\0', 'x'.repeat(250)])
      for (const force of [false, true])
        await assert.rejects(client.unregister(name, { force }), {
          code: name.length < 200 ? 'ENOENT' : /^ENOENT|ENAMETOOLONG$/,
        })
    await client.unregister('other')
    assert.deepEqual(await client.parents(), []) // it just ends
    await assert.rejects(client.unregister('other', { force: true }), { code: 'ENOENT' })
    await assert.rejects(client.register('other'), { code: 'ENOENT' })
  })

  test('is EBUSY while a client has an mdev, naming pid and program, and nothing has changed then', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    const { client, holder } = machine
    await machine.held()
    await assert.rejects(client.unregister('serial'), {
      code: 'EBUSY',
      message: `parent serial: mdev ${uuid(1)}: in use by pid ${holder.pid} (node)`,
    })
    const view = await machine.view()
    assert.deepEqual([view.state, view.pid, view.waits], ['registered', pid, undefined])
    await machine.mtty(2)
    kill(pid)
    await until(async () => ((await machine.view()).pid ?? pid) !== pid, 'another host') // it is supervised
  })

  test('waits for clients, says for whom, creates nothing meanwhile, and a second one joins', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    const { client, holder } = machine
    const { socket = '' } = await machine.held()
    await machine.mtty(2)
    const events = client.events()
    await events.next()
    const first = client.unregister('serial', { wait: true })
    const { waits } = await machine.waiting()
    const who = `mdev ${uuid(1)}: in use by pid ${holder.pid} (node)`
    assert.equal(waits, `being unregistered: ${who}`)
    const second = client.unregister('serial', { wait: true })
    await assert.rejects(client.unregister('serial'), { code: 'EBUSY', message: /in use by pid/ })
    await assert.rejects(machine.mtty(3), { code: 'ENODEV', message: /unregistering/ })
    await assert.rejects(client.stop(uuid(2)), { code: 'ENODEV' })
    await assert.rejects(client.register('serial'), {
      code: 'EBUSY',
      message: `parent serial: it is being unregistered: ${who}`,
    })
    assert.equal(await holder.detach(socket), 'detached')
    await Promise.all([first, second])
    await machine.assertGone(pid)
    const told: string[] = []
    for await (const event of events) {
      assert.ok(event.action !== 'snapshot')
      const state = 'MDEV_STATE' in event ? ` ${event.MDEV_STATE}` : ''
      const number = 'uuid' in event ? ` ${event.uuid.at(-1)}` : ''
      told.push(`${event.action}${number}${state}`)
      if (state !== '') break
    }
    assert.deepEqual(told, [
      'unregistering',
      'removing 1',
      'detach 1',
      'unbind 1',
      'remove 1',
      'unbind 2',
      'remove 2',
      'change unregistered',
    ])
  })

  test('force takes mdevs away, and hastens one that waits', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    await machine.held(1)
    await machine.held(2)
    const patient = machine.client.unregister('serial', { wait: true })
    await machine.waiting()
    await machine.client.unregister('serial', { force: true })
    await patient
    await machine.assertGone(pid)
    await machine.client.register('serial')
    await machine.held(1)
  })

  test('a host that hangs is killed by force, and whoever waits for it goes on', async () => {
    await using machine = new Machine()
    const driver = machine.scratch.write('stuck.mjs', STUCK)
    await machine.serial(driver)
    const pid = await machine.up()
    await machine.client.start({ parent: 'serial', type: 'stuck-1', uuid: uuid(1) })
    const patient = machine.client.unregister('serial', { wait: true })
    await machine.client.unregister('serial', { force: true })
    await patient
    await machine.assertGone(pid)
    await until(() => !existsSync(join(machine.root, 'devices', uuid(1))), 'nothing to be left')
  })

  test('outlives the daemon: in the middle, and when it is done', async () => {
    await using machine = new Machine()
    const first = await machine.serial()
    const pid = await machine.up()
    const { client, holder } = machine
    const { socket = '' } = await machine.held()
    const patient = assert.rejects(client.unregister('serial', { wait: true }), {
      code: 'ECONNRESET',
    })
    await machine.waiting()
    await first.close()
    await patient
    const second = await machine.serial()
    assert.equal((await machine.view()).pid, pid)
    await machine.waiting()
    const joined = client.unregister('serial', { wait: true })
    await holder.detach(socket)
    await joined
    await machine.assertGone(pid)
    await second.close()
    await machine.serial()
    await machine.assertGone(pid)
    assert.ok((await client.register('serial')).pid !== undefined)
  })

  test('a host that is killed in the middle has gone, and none comes after it', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    await machine.held()
    const patient = machine.client.unregister('serial', { wait: true })
    await machine.waiting()
    kill(pid)
    await patient
    await machine.assertGone(pid)
  })

  test('of two at once one that does not wait is refused, and the other is done', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    const { socket = '' } = await machine.held()
    const { client } = machine
    const impatient = assert.rejects(client.unregister('serial'), { code: 'EBUSY' })
    const patient = client.unregister('serial', { wait: true })
    await impatient
    await machine.waiting()
    await machine.holder.detach(socket)
    await patient
    await machine.assertGone(pid)
  })

  test('starts at the same time are done or refused, and nothing is left of them', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    const outcome = async (number: number) =>
      machine.mtty(number).then(
        () => 'started',
        ({ code }: Error & { code: string }) => code,
      )
    const before = [1, 2, 3, 4].map(outcome)
    const unregistered = machine.client.unregister('serial', { wait: true })
    const after = [5, 6, 7, 8].map(outcome)
    await unregistered
    for (const each of await Promise.all([...before, ...after]))
      assert.ok(['started', 'ENODEV', 'ENOENT', 'ECONNRESET'].includes(each), each)
    await machine.assertGone(pid)
    for (let number = 1; number <= 8; number++)
      assert.ok(!existsSync(join(machine.root, 'devices', uuid(number))))
  })

  test("is EPERM while an mdev is another owner's, waiting and by force, unless that is taken over", async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    await machine.mtty()
    const other = new ApiClient(apiSocket(machine.root), { owner: 'libvirt' })
    for (const options of [{}, { wait: true }, { force: true }])
      await assert.rejects(other.unregister('serial', options), {
        code: 'EPERM',
        message: /parent serial: mdev .*: made by .*; --take-over to take it anyway/,
      })
    assert.equal((await machine.view()).state, 'registered')
    await other.unregister('serial', { takeOver: true })
    await machine.assertGone(pid)
  })
})

describe('unregister', () => {
  test('of a host that is starting is EAGAIN, waits for it, or kills it', async () => {
    await using machine = new Machine()
    const go = join(machine.scratch.path, 'go')
    const driver = machine.scratch.write(
      'slow.mjs',
      `import { existsSync } from 'node:fs'
      while (!existsSync(${JSON.stringify(go)})) await new Promise((resolve) => setTimeout(resolve, 5))
      export const slow = { name: 'slow', types: { 1: {} }, probe: () => ({ reset() {} }) }`,
    )
    await machine.serial(driver)
    const { client } = machine
    await assert.rejects(client.unregister('serial'), {
      code: 'EAGAIN',
      message: /its host is starting/,
    })
    await client.unregister('serial', { force: true })
    assert.equal((await machine.view()).waits, BACK)
    await until(() => processesOf(machine.root).length === 0, 'the host to have ended')
    const registered = client.register('serial')
    await until(async () => /its host is starting/.test((await machine.view()).waits ?? ''))
    const unregistered = client.unregister('serial', { wait: true })
    writeFileSync(go, '')
    await Promise.all([registered, unregistered])
    assert.equal((await machine.view()).waits, BACK)
    await until(() => processesOf(machine.root).length === 0, 'the host to have ended')
  })

  test('of one whose host cannot be started has it tried no more; register says why it cannot', async () => {
    await using machine = new Machine()
    const driver = machine.scratch.write('card.mjs', 'throw new Error("no such card")')
    await machine.serial(driver)
    const failed = async () =>
      until(async () => /no such card/.test((await machine.view()).waits ?? ''), 'a failure')
    await failed()
    await machine.client.unregister('serial')
    assert.equal((await machine.view()).waits, BACK)
    const { pid, waits } = await machine.client.register('serial')
    assert.equal(pid, undefined)
    assert.match(waits ?? '', /no such card/)
    await machine.client.unregister('serial', { wait: true })
    assert.equal((await machine.view()).waits, BACK)
  })

  test('of a host that hung before the daemon came is EAGAIN, and kills it by force', async () => {
    await using machine = new Machine()
    const first = await machine.serial()
    const pid = await machine.up()
    await machine.held()
    await first.close()
    process.kill(pid, 'SIGSTOP')
    await machine.serial()
    await assert.rejects(machine.client.unregister('serial', { wait: true }), {
      code: 'EAGAIN',
      message: `parent serial: its host, pid ${pid}, does not answer; try again, or end it by force`,
    })
    await machine.client.unregister('serial', { force: true })
    await machine.assertGone(pid)
    assert.ok((await machine.client.register('serial')).pid !== undefined)
  })

  test('never ends what has the name and is no host of the daemon', async () => {
    await using machine = new Machine()
    await using run = await serve(['mtty', '--set', 'ports=loopback'], { root: machine.root })
    const parents = new Map([['mtty', { driver: 'mtty' }]])
    await machine.daemon({ ...parseConfig('', '/x'), parents })
    for (const force of [false, true])
      await assert.rejects(machine.client.unregister('mtty', { force }), {
        code: 'EBUSY',
        message: new RegExp(`pid ${run.host.pid} has it`),
      })
    assert.ok(!existsSync(join(machine.root, 'unregistered')))
    assert.ok(processesOf(machine.root).includes(run.host.pid))
  })

  test('of which only the note is there, as the daemon was killed then, has not happened', async () => {
    await using machine = new Machine()
    const first = await machine.serial()
    const pid = await machine.up()
    await first.close()
    mkdirSync(join(machine.root, 'unregistered'))
    writeFileSync(join(machine.root, 'unregistered', 'serial'), '')
    await machine.serial()
    assert.equal((await machine.view()).pid, pid)
    assert.ok(!existsSync(join(machine.root, 'unregistered')))
    kill(pid)
    await until(async () => ((await machine.view()).pid ?? pid) !== pid, 'another host')
  })

  test('that cannot be noted down is refused, and nothing has changed', async () => {
    await using machine = new Machine()
    await machine.serial()
    const pid = await machine.up()
    writeFileSync(join(machine.root, 'unregistered'), '')
    await assert.rejects(machine.client.unregister('serial', { force: true }), { code: 'EEXIST' })
    const { state, pid: now } = await machine.view()
    assert.deepEqual([state, now], ['registered', pid])
  })
})
