/** ApiClient: the control plane over a socket is the control plane, refusals included. */
import assert from 'node:assert/strict'
import { createServer as createTcpServer } from 'node:net'
import { once } from 'node:events'
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import type { MachineEvent, SnapshotEvent } from '../../src/http/events.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { choice } from '../../src/mdev/attribute.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { driverOf, probeNothing, uuid } from '../mdev/support.ts'
import { Scratch } from '../support/scratch.ts'
import { Api } from './support.ts'

const DEFINITION = { type: 'test-1', start: 'manual', attributes: [['speed', 'fast']] } as const
const DRIVER = driverOf({
  attributes: {
    speed: choice(['slow', 'fast'], { default: 'slow', description: 'How fast.', change: 'live' }),
  },
  probe: (mdev) => ({ ...probeNothing(mdev), changeAttributes: () => {} }),
})

describe('ApiClient', () => {
  test('defines, starts, changes, lists, stops and undefines as the machine itself does', async () => {
    await using api = await Api.start()
    const { client, daemon } = api
    await daemon.host(DRIVER, 'a:0')
    const key = { parent: 'a:0', uuid: uuid(1) }
    assert.deepEqual(await client.define(key, DEFINITION), { ...key, definition: DEFINITION })
    const others = { note: { deep: [1] } }
    const changed = { ...DEFINITION, start: 'auto', others } as const
    await client.define(key, changed, { replace: true })
    const started = await client.start({ uuid: uuid(1) })
    assert.deepEqual([started.state, started.attributes], ['active', [['speed', 'fast']]])
    const slow = await client.change(uuid(1), [['speed', 'slow']])
    assert.deepEqual(slow.attributes, [['speed', 'slow']])
    assert.deepEqual(await client.list(), {
      mdevs: [{ ...key, active: slow, definition: changed }],
      faults: [],
    })
    assert.deepEqual(await client.list(), await daemon.machine.list())
    assert.deepEqual(await client.find(uuid(1)), (await client.list()).mdevs)
    assert.deepEqual(await client.find(uuid(2)), [])
    assert.deepEqual(await client.parents(), await daemon.machine.parents())
    await client.stop(uuid(1), { force: true })
    await client.undefine(uuid(1), 'a:0')
    assert.deepEqual(await client.list(), { mdevs: [], faults: [] })
  })

  test('throws refusals as they were: the errno and the message', async () => {
    await using api = await Api.start()
    const { client, daemon } = api
    await daemon.host(DRIVER, 'a')
    const key = { parent: 'a', uuid: uuid(1) }
    await client.define(key, DEFINITION)
    for (const [ask, code] of [
      [(plane) => plane.define(key, DEFINITION), 'EEXIST'],
      [(plane) => plane.define({ ...key, parent: '..' }, DEFINITION, { replace: true }), 'EINVAL'],
      [(plane) => plane.start({ parent: 'A', type: 'test-1' }), 'ENOENT'],
      [(plane) => plane.start({ uuid: uuid(2) }), 'EINVAL'],
      [(plane) => plane.stop(uuid(2)), 'ENOENT'],
      [(plane) => plane.change(uuid(2), []), 'ENOENT'],
      [(plane) => plane.undefine(uuid(2)), 'ENOENT'],
      [(plane) => plane.undefine('é/?#'), 'EINVAL'],
    ] as const satisfies readonly (readonly [
      (plane: ApiClient | typeof daemon.machine) => Promise<unknown>,
      string,
    ])[]) {
      const there = await ask(daemon.machine).catch((error: unknown) => error)
      assert.ok(there instanceof ErrnoError)
      const { code: known, errno, message } = there
      assert.equal(known, code)
      await assert.rejects(ask(client), { name: 'ErrnoError', code, errno, message })
    }
  })

  test('says how to start the daemon where none runs', async () => {
    using scratch = new Scratch()
    const nobody = new ApiClient(apiSocket(scratch.path))
    await assert.rejects(nobody.parents(), {
      code: 'ENOENT',
      message: /api\.sock: .*mdevkit daemon$/,
    })
    const dead = createTcpServer().listen(join(scratch.path, 'x'))
    await once(dead, 'listening')
    const path = join(scratch.path, 'dead')
    renameSync(join(scratch.path, 'x'), path) // so that closing does not remove it
    dead.close()
    await once(dead, 'close')
    await assert.rejects(new ApiClient(path).list(), {
      code: 'ECONNREFUSED',
      message: /mdevkit daemon$/,
    })
  })

  for (const [title, answer, code] of [
    ['hangs up', undefined, 'ECONNRESET'],
    ['speaks no HTTP', 'SSH-2.0-OpenSSH\r\n', 'EPROTO'],
    ['answers no JSON', 'HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi', 'EPROTO'],
    ['answers null where it refuses', 'HTTP/1.1 500 No\r\ncontent-length: 4\r\n\r\nnull', 'EPROTO'],
    ['stops halfway', 'HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n[', 'ECONNRESET'],
  ] as const) {
    test(`is ${code} where what listens ${title}`, async () => {
      using scratch = new Scratch()
      const path = apiSocket(scratch.path)
      const server = createTcpServer((socket) => socket.end(answer ?? '')).listen(path)
      await once(server, 'listening')
      try {
        await assert.rejects(new ApiClient(path).parents(), { name: 'ErrnoError', code })
      } finally {
        server.close()
      }
    })
  }
})

describe('ApiClient.events()', () => {
  test('tells what there is, then what happens, in order, with the names of uevents', async () => {
    await using api = await Api.start()
    const { client, daemon } = api
    const found = await daemon.host(DRIVER, 'a')
    const key = { parent: 'a', uuid: uuid(1) }
    const events = client.events()
    const first = (await events.next()).value as SnapshotEvent
    assert.deepEqual(
      [first.action, first.parents, first.mdevs, first.faults],
      ['snapshot', await daemon.machine.parents(), [], []],
    )
    await client.define(key, DEFINITION)
    await client.start({ uuid: uuid(1) })
    const guest = await Client.attach(found.host.socketOf(found.host.parent.mdev(uuid(1))))
    await client.change(uuid(1), [['speed', 'slow']])
    guest.detach()
    await client.stop(uuid(1), { wait: true })
    await client.undefine(uuid(1))
    await client.start({ parent: 'a', type: 'test-1', uuid: uuid(2) })
    found.close() // as a crash
    const told: string[] = []
    for await (const event of events) {
      const { action, parent } = event as MachineEvent
      const subject =
        'uuid' in event ? event.uuid.slice(-1) : (event as { MDEV_STATE: string }).MDEV_STATE
      told.push(`${action} ${parent} ${subject}`)
      if (subject === 'unregistered') break
    }
    assert.deepEqual(told, [
      'define a 1',
      'add a 1',
      'bind a 1',
      'attach a 1',
      'change a 1',
      'detach a 1',
      'unbind a 1',
      'remove a 1',
      'undefine a 1',
      'add a 2',
      'bind a 2',
      'remove a 2',
      'change a unregistered',
    ])
  })

  test('ends when its signal is aborted, and is ECONNRESET when the daemon ends', async () => {
    await using api = await Api.start()
    const end = new AbortController()
    const aborted = api.client.events(end.signal)
    await aborted.next()
    end.abort()
    assert.deepEqual(await aborted.next(), { value: undefined, done: true })
    const cut = api.client.events()
    await cut.next()
    await api.server.close()
    await assert.rejects(cut.next(), { name: 'ErrnoError', code: 'ECONNRESET' })
  })
})

test('ApiClient gives up with ETIMEDOUT on what does not answer, whole or in part', async () => {
  using scratch = new Scratch()
  for (const [name, answer] of [
    ['silent', ''],
    ['slow', 'HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n['],
  ] as const) {
    const path = join(scratch.path, name)
    const server = createTcpServer((socket) => {
      socket.on('error', () => {}).write(answer)
    }).listen(path)
    await once(server, 'listening')
    const client = new ApiClient(path, { timeoutMs: 200 })
    const refused = { code: 'ETIMEDOUT', message: `${path}: the daemon has not answered in 0.2 s` }
    await assert.rejects(client.parents(), refused)
    await assert.rejects(client.stop(uuid(1)), refused)
    if (answer === '') await assert.rejects(client.events().next(), refused)
    server.close()
  }
})
