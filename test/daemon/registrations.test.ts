/** Parents that administrators unregister and register again: real hosts, real clients, and what goes wrong in the middle. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import { ask } from '../http/support.ts'
import { uuid } from '../mdev/support.ts'
import { kill, processesOf } from '../support/root-processes.ts'
import { STUCK } from '../support/stuck-driver.ts'
import { until } from '../support/until.ts'
import { BACK, LOOPBACK, SerialMachine } from './serial-machine.ts'

const LIVELY = `
setInterval(() => {}, 1000)
export const lively = { name: 'lively', types: { 1: {} }, probe: () => ({ reset() {} }) }
`

describe('unregister and register', () => {
  test('a parent goes, and stays away until it is registered again; then what is auto is started', async () => {
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
    await machine.serial()
    const pid = await machine.up()
    const { client, holder } = machine
    await machine.held()
    await assert.rejects(client.unregister('serial'), {
      code: 'EBUSY',
      message: `parent serial: mdev ${uuid(1)}: in use by ${holder.who}`,
    })
    const view = await machine.view()
    assert.deepEqual([view.state, view.pid, view.waits], ['registered', pid, undefined])
    await machine.mtty(2)
    kill(pid)
    await until(async () => ((await machine.view()).pid ?? pid) !== pid, 'another host') // it is supervised
  })

  test('waits for clients, says for whom, creates nothing meanwhile, and a second one joins', async () => {
    await using machine = new SerialMachine()
    await machine.serial()
    const pid = await machine.up()
    const { client, holder } = machine
    const { socket = '' } = await machine.held()
    await machine.mtty(2)
    const events = client.events()
    await events.next()
    const first = client.unregister('serial', { wait: true })
    const { waits } = await machine.waiting()
    const who = `mdev ${uuid(1)}: in use by ${holder.who}`
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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

  test('ends the process of a host whose driver would keep it alive', async () => {
    await using machine = new SerialMachine()
    const driver = machine.scratch.write('lively.mjs', LIVELY)
    await machine.serial(driver)
    const pid = await machine.up()
    await machine.client.unregister('serial')
    assert.ok(!processesOf(machine.root).includes(pid))
    await machine.assertGone(pid)
  })

  test('outlives the daemon: in the middle, and when it is done', async () => {
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
