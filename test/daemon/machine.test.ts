/** The machine as an administrator sees it: definitions and active mdevs in one list, and mdevctl's rules for both. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { driverOf } from '../mdev/support.ts'
import { Daemon } from './support.ts'

const [ONE, TWO] = ['00000001-0000-4000-8000-000000000001', '00000002-0000-4000-8000-000000000002']
const MANUAL = { type: 'test-1', start: 'manual', attributes: [] } as const
const DRIVER = driverOf({ types: { 1: {}, 2: {} } })

describe('Machine.start()', () => {
  test('starts a definition by its UUID alone, with its settings', async () => {
    using daemon = new Daemon()
    await daemon.host(DRIVER, 'a')
    await daemon.machine.define({ parent: 'a', uuid: ONE }, MANUAL)
    const active = await daemon.machine.start({ uuid: ONE.toUpperCase() })
    assert.deepEqual([active.uuid, active.parent, active.type], [ONE, 'a', 'test-1'])
    const { mdevs } = await daemon.machine.list()
    assert.equal(mdevs.length, 1)
    assert.deepEqual([mdevs[0]?.definition, mdevs[0]?.active?.state], [MANUAL, 'active'])
  })

  test('starts one without a definition, under a fresh UUID unless one is given', async () => {
    using daemon = new Daemon()
    await daemon.host(DRIVER, 'a')
    const { uuid } = await daemon.machine.start({ parent: 'a', type: 'test-2' })
    assert.match(uuid, /^[0-9a-f-]{36}$/)
    await daemon.machine.start({ parent: 'a', type: 'test-2', uuid: ONE })
    assert.deepEqual(
      (await daemon.machine.list()).mdevs.map(({ definition }) => definition),
      [undefined, undefined],
    )
  })

  test('refuses as mdevctl does: what is active, ambiguous, of another type, unknown, or too little (T 8.4, 8.7)', async () => {
    using daemon = new Daemon()
    const { machine } = daemon
    await daemon.host(DRIVER, 'a')
    await daemon.host(DRIVER, 'b')
    await machine.define({ parent: 'a', uuid: ONE }, MANUAL)
    await machine.define({ parent: 'b', uuid: ONE }, MANUAL)
    await assert.rejects(machine.start({ uuid: ONE }), {
      code: 'EINVAL',
      message: /a, b: say which/,
    })
    await assert.rejects(machine.start({ uuid: ONE, parent: 'a', type: 'test-2' }), {
      code: 'EEXIST',
      message: /with type test-1/,
    })
    await machine.start({ uuid: ONE, parent: 'a' })
    await assert.rejects(machine.start({ uuid: ONE, parent: 'b' }), {
      code: 'EEXIST',
      message: /active on parent a/,
    })
    await assert.rejects(machine.start({ uuid: TWO }), { code: 'EINVAL', message: /a parent/ })
    await assert.rejects(machine.start({ parent: 'a' }), { code: 'EINVAL', message: /a type/ })
    await assert.rejects(machine.start({ parent: 'A', type: 'test-1' }), {
      code: 'ENOENT',
      message: /did you mean a\?/,
    })
    await assert.rejects(machine.start({ parent: 'a', type: 'test-9' }), { code: 'ENOENT' })
  })
})

describe('Machine.stop()', () => {
  test('leaves the definition, and is ENOENT of what is not active', async () => {
    using daemon = new Daemon()
    const { machine } = daemon
    await daemon.host(DRIVER, 'a')
    await machine.define({ parent: 'a', uuid: ONE }, MANUAL)
    await assert.rejects(machine.stop(ONE), { code: 'ENOENT', message: /not active/ })
    await machine.start({ uuid: ONE })
    await machine.stop(ONE.toUpperCase())
    assert.deepEqual((await machine.list()).mdevs, [{ parent: 'a', uuid: ONE, definition: MANUAL }])
  })
})

describe('Machine.undefine()', () => {
  test('takes all definitions of a UUID, or that of one parent, and leaves what is active', async () => {
    using daemon = new Daemon()
    const { machine } = daemon
    await daemon.host(DRIVER, 'a')
    for (const parent of ['a', 'b', 'c']) await machine.define({ parent, uuid: ONE }, MANUAL)
    await machine.start({ uuid: ONE, parent: 'a' })
    await machine.undefine(ONE, 'b')
    await assert.rejects(machine.undefine(ONE, 'b'), { code: 'ENOENT' })
    await machine.undefine(ONE)
    await assert.rejects(machine.undefine(ONE), { code: 'ENOENT' })
    assert.deepEqual(
      (await machine.list()).mdevs.map(({ parent, active }) => [parent, active?.state]),
      [['a', 'active']],
    )
  })
})

describe('Machine.parents', () => {
  test('follows the hosts: those that come, what they bear, and those that go', async () => {
    using daemon = new Daemon()
    const { machine } = daemon
    await daemon.host(DRIVER, 'b')
    const found = await daemon.host(driverOf({ maxInstances: 1 }), 'a')
    assert.deepEqual(
      (await machine.parents()).map(({ name, pid }) => [name, pid]),
      [
        ['a', process.pid],
        ['b', process.pid],
      ],
    )
    await machine.start({ parent: 'a', type: 'test-1', uuid: ONE })
    assert.equal((await machine.parents())[0]?.types[0]?.availableInstances, 0)
    const down = once(daemon.hosts, 'down')
    found.close()
    assert.deepEqual(await down, ['a'])
    assert.deepEqual(
      (await machine.parents()).map(({ name }) => name),
      ['b'],
    )
    await assert.rejects(machine.stop(ONE), { code: 'ENOENT' })
  })
})

describe('Machine.find()', () => {
  test('says of one UUID what list() says of it, and passes over what is no definition', async () => {
    using daemon = new Daemon()
    const { machine } = daemon
    await daemon.host(DRIVER, 'a')
    await daemon.host(DRIVER, 'b')
    for (const parent of ['b', 'c']) await machine.define({ parent, uuid: ONE }, MANUAL)
    await machine.define({ parent: 'b', uuid: TWO }, MANUAL)
    await machine.start({ parent: 'a', type: 'test-2', uuid: ONE })
    daemon.scratch.write(`mdevctl.d/torn/${ONE}`, '{')
    const { mdevs } = await machine.list()
    const expected = mdevs.filter(({ uuid }) => uuid === ONE)
    assert.deepEqual(
      expected.map(({ parent, active, definition }) => [parent, active?.type, definition?.type]),
      [
        ['a', 'test-2', undefined],
        ['b', undefined, 'test-1'],
        ['c', undefined, 'test-1'],
      ],
    )
    assert.deepEqual(await machine.find(ONE.toUpperCase()), expected)
    assert.deepEqual(await machine.find('00000003-0000-4000-8000-000000000003'), [])
    await assert.rejects(machine.find('nonsense'), { code: 'EINVAL' })
  })
})
