/** Groups by way of the daemon: a setting in definitions, and of mdevs that are active. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Client, driverOf } from '../mdev/support.ts'
import { Daemon } from './support.ts'

const uuid = (number: number) => `0000000${number}-0000-4000-8000-000000000000`
const GROUP = uuid(9)
const driver = driverOf({ types: { 1: { peerToPeer: true } } })
const DEFINITION = { type: 'test-1', start: 'manual', attributes: [['group', GROUP]] } as const

test('mdevs of two parents that are defined with one group have it when they are started', async () => {
  using daemon = new Daemon()
  const { machine } = daemon
  for (const [index, parent] of ['a', 'b'].entries()) {
    await daemon.host(driver, parent)
    await machine.define({ parent, uuid: uuid(index + 1) }, DEFINITION)
  }
  const [one, other] = [
    await machine.start({ uuid: uuid(1) }),
    await machine.start({ uuid: uuid(2) }),
  ]
  assert.equal(one.group, other.group)
  assert.deepEqual(one.attributes, [['group', GROUP]])
  const parents = await machine.parents()
  assert.ok(parents.every(({ types }) => types[0]?.peerToPeer === true))
  assert.ok(parents.every(({ attributes }) => attributes.some(({ name }) => name === 'group')))
  const alone = await machine.change(uuid(2), [['group', '']])
  assert.notEqual(alone.group, one.group)
})

test('a start that would join a group in use is EBUSY, and so is a change', async () => {
  using daemon = new Daemon()
  const { machine } = daemon
  const { host } = await daemon.host(driver, 'a')
  await daemon.host(driver, 'b')
  const wanted = { type: 'test-1', attributes: [['group', GROUP]] } as const
  await machine.start({ uuid: uuid(1), parent: 'a', ...wanted })
  await machine.start({ uuid: uuid(3), parent: 'b', type: 'test-1' })
  const client = new Client(host.parent.mdev(uuid(1)))
  await client.session.ready
  const refusal = { code: 'EBUSY', message: /group \d+: in use by pid 4711 \(a test\)/ }
  await assert.rejects(machine.start({ uuid: uuid(2), parent: 'b', ...wanted }), refusal)
  await assert.rejects(machine.change(uuid(3), [['group', GROUP]]), refusal)
  client.session.close()
  await machine.start({ uuid: uuid(2), parent: 'b', ...wanted })
})
