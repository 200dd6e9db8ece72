/** Unregistering where there is no host that answers: one that starts, cannot start, hangs, or is somebody else's. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { parseConfig } from '../../src/daemon/config.ts'
import { serve } from '../support/mdevkit.ts'
import { kill, processesOf } from '../support/root-processes.ts'
import { until } from '../support/until.ts'
import { BACK, SerialMachine } from './serial-machine.ts'

describe('unregister', () => {
  test('of a host that is starting is EAGAIN, waits for it, or kills it', async () => {
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
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
    await using machine = new SerialMachine()
    await machine.serial()
    const pid = await machine.up()
    writeFileSync(join(machine.root, 'unregistered'), '')
    await assert.rejects(machine.client.unregister('serial', { force: true }), { code: 'EEXIST' })
    const { state, pid: now } = await machine.view()
    assert.deepEqual([state, now], ['registered', pid])
  })
})
