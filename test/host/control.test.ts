/** The control socket of a host: both ends of it, and what a stranger may say to it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ControlClient } from '../../src/host/control-client.ts'
import type { ControlEvent } from '../../src/host/control-protocol.ts'
import { ControlServer } from '../../src/host/control-server.ts'
import { Host } from '../../src/host/host.ts'
import { hostSocket } from '../../src/host/paths.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { integer } from '../../src/mdev/attribute.ts'
import type { Driver } from '../../src/mdev/driver.ts'
import { Client, deferred, driverOf, ManualClock, probeNothing } from '../mdev/support.ts'
import { Scratch } from '../support/scratch.ts'
import { OTHER_UUID, UUID } from './support.ts'

/** A host with its control socket, and a client of it. */
class Managed implements Disposable {
  readonly scratch = new Scratch()
  readonly host: Host
  readonly path: string
  readonly control: ControlServer
  unregistered = 0
  readonly #clients: ControlClient[] = []

  constructor(driver: Driver = driverOf(), clock = new ManualClock()) {
    const root = join(this.scratch.path, 'root')
    this.host = new Host({ driver, log: silentLogger, root, clock })
    this.path = hostSocket(root, this.host.parent.name)
    this.control = new ControlServer({
      host: this.host,
      path: this.path,
      log: silentLogger,
      onUnregistered: () => void this.unregistered++,
    })
  }

  async client(): Promise<ControlClient> {
    const client = await ControlClient.connect(this.path)
    this.#clients.push(client)
    return client
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) client.close()
    this.control.close()
    this.host.close()
    this.scratch[Symbol.dispose]()
  }
}

const ADJUSTABLE = driverOf({
  maxInstances: 2,
  attributes: {
    rate: integer({ min: 1, max: 9, default: 1, description: 'of a test', change: 'live' }),
  },
})

describe('ControlClient', () => {
  test('sees the parent: its types, its settings, its mdevs; nobody else may connect', async () => {
    using managed = new Managed(ADJUSTABLE)
    await managed.host.create('test-1', UUID, [['rate', '3']])
    const client = await managed.client()
    const socket = join(managed.host.root, 'devices', UUID, 'cntrl')
    assert.equal(client.pid, process.pid)
    assert.deepEqual(client.parent, {
      name: 'test',
      driver: 'test',
      state: 'registered',
      types: [
        {
          name: 'test-1',
          prettyName: '1',
          deviceApi: 'vfio-pci',
          availableInstances: 1,
          status: {},
        },
      ],
      settings: [],
      values: {},
      status: {},
      faults: [],
      parentAttributes: [],
      attributes: [
        {
          name: 'rate',
          description: 'of a test',
          default: '1',
          change: 'live',
          accepts: '1..9',
          schema: { type: 'integer', minimum: 1, maximum: 9 },
        },
      ],
      mdevs: [
        {
          uuid: UUID,
          parent: 'test',
          type: 'test-1',
          state: 'active',
          group: 0,
          attributes: [['rate', '3']],
          values: { rate: '3' },
          status: {},
          faults: [],
          socket,
        },
      ],
    })
    assert.equal(statSync(managed.path).mode & 0o777, 0o600)
  })

  test('creates, changes and removes, and is told of it, as every other one is', async () => {
    using managed = new Managed(ADJUSTABLE)
    const [client, other] = [await managed.client(), await managed.client()]
    const told: string[] = []
    other.on('event', ({ action, mdev, types }: ControlEvent) =>
      told.push(`${action} ${mdev?.uuid === UUID} ${types[0]?.availableInstances}`),
    )
    const created = await client.create('test-1', UUID)
    assert.deepEqual([created.state, created.attributes], ['active', []])
    const changed = await client.changeAttributes(UUID, [['rate', '7']])
    assert.deepEqual(changed.attributes, [['rate', '7']])
    const gone = once(other, 'event', { signal: AbortSignal.timeout(10_000) })
    await client.remove(UUID)
    await gone
    while (other.parent.mdevs.length > 0) await once(other, 'event')
    assert.deepEqual(told, [
      'add true 1',
      'bind true 1',
      'change true 1',
      'unbind true 1',
      'remove true 2',
    ])
    assert.deepEqual(client.parent.mdevs, [])
  })

  test('gets every refusal with its errno and its message', async () => {
    using managed = new Managed(ADJUSTABLE)
    const client = await managed.client()
    await client.create('test-1', UUID)
    await assert.rejects(client.create('test-1', UUID), { code: 'EEXIST', errno: 17 })
    await assert.rejects(client.create('test-9', OTHER_UUID), {
      code: 'ENOENT',
      message: 'type test-9: parent test offers test-1',
    })
    await assert.rejects(client.create('test-1', 'no'), { code: 'EINVAL' })
    await assert.rejects(client.changeAttributes(UUID, [['rate', '10']]), { code: 'EINVAL' })
    await assert.rejects(client.remove(OTHER_UUID), { code: 'ENOENT' })
    const user = new Client(managed.host.parent.mdev(UUID))
    await assert.rejects(client.remove(UUID), { code: 'EBUSY', message: /pid 4711/ })
    await client.remove(UUID, { force: true })
    assert.equal(user.evictions, 1)
  })

  test('waits for a client of the mdev as long as it takes, while others are answered', async () => {
    using managed = new Managed()
    const client = await managed.client()
    await client.create('test-1', UUID)
    const user = new Client(managed.host.parent.mdev(UUID))
    const removal = client.remove(UUID, { wait: true })
    await client.create('test-1', OTHER_UUID)
    assert.equal(managed.host.parent.mdev(UUID).state, 'removing')
    user.session.close()
    await removal
    assert.deepEqual(
      managed.host.parent.mdevs.map(({ uuid }) => uuid),
      [OTHER_UUID],
    )
  })

  test('gives up on a driver that never ends its probe; what comes late is removed', async () => {
    const probe = deferred<void>()
    const driver = driverOf({
      async probe(mdev) {
        await probe.promise
        return probeNothing(mdev)
      },
    })
    const clock = new ManualClock()
    using managed = new Managed(driver, clock)
    const client = await managed.client()
    const added = once(managed.host.events, 'add')
    const creation = client.create('test-1', UUID)
    await added
    clock.expire()
    await assert.rejects(creation, { code: 'ETIMEDOUT', message: /probe: not done after 30 s/ })
    const removed = once(managed.host.events, 'remove')
    probe.resolve()
    await removed
    assert.deepEqual(managed.host.parent.mdevs, [])
  })

  test('unregisters the parent, after which the host is to end', async () => {
    using managed = new Managed()
    const client = await managed.client()
    await client.create('test-1', UUID)
    await client.unregister({ force: true })
    await assert.rejects(client.create('test-1', UUID), { code: 'ENODEV' })
    assert.equal(managed.unregistered, 1)
  })

  test('is told when the host goes: by its event, and by ECONNRESET of what it has asked', async () => {
    using managed = new Managed()
    const client = await managed.client()
    await client.create('test-1', UUID)
    const user = new Client(managed.host.parent.mdev(UUID))
    const removal = client.remove(UUID, { wait: true })
    const closed = once(client, 'close')
    await client.create('test-1', OTHER_UUID) // the removal has arrived before this
    managed.control.close()
    await assert.rejects(removal, { code: 'ECONNRESET' })
    await closed
    await assert.rejects(client.create('test-1', UUID), { code: 'ECONNRESET' })
    user.session.close()
    assert.ok(!existsSync(managed.path))
    await assert.rejects(ControlClient.connect(managed.path), { code: 'ENOENT' })
  })
})

describe('ControlServer', () => {
  /** Sends `text` and hangs up. */
  async function say(path: string, text: string): Promise<void> {
    const socket = connect(path)
    await once(socket, 'connect')
    socket.end(text).resume()
    await once(socket, 'close')
  }

  /** What is answered to `text`. */
  async function ask(path: string, text: string): Promise<string> {
    const socket = connect(path)
    socket.setEncoding('utf8').write(text)
    const [answer] = (await once(socket, 'data')) as [string]
    socket.destroy()
    return answer
  }

  function message(body: object): string {
    const text = JSON.stringify({ jsonrpc: '2.0', ...body })
    return `Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`
  }

  for (const [title, text] of [
    ['nothing', ''],
    ['what is no header', 'hello\r\n\r\nhello'],
    ['a length that is none', 'Content-Length: many\r\n\r\n{}'],
    ['what is no JSON', 'Content-Length: 3\r\n\r\n{{{'],
    ['half a message', 'Content-Length: 1000\r\n\r\n{'],
    ['JSON that is no request', 'Content-Length: 4\r\n\r\nnull'],
    ['an unknown method', message({ id: 1, method: 'nonsense' })],
    ['a method without its parameters', message({ id: 1, method: 'create' })],
    [
      'parameters of other types',
      message({ id: 1, method: 'create', params: { type: 1, uuid: {}, attributes: 5 } }),
    ],
    ['another version', message({ id: 1, method: 'hello', params: { version: 9 } })],
  ] as const) {
    test(`lives on after ${title}`, async () => {
      using managed = new Managed()
      await say(managed.path, text)
      const client = await managed.client()
      await client.create('test-1', UUID)
      assert.equal(client.parent.mdevs.length, 1)
    })
  }

  test('refuses another version with EPROTO', async () => {
    using managed = new Managed()
    const answer = await ask(
      managed.path,
      message({ id: 1, method: 'hello', params: { version: 9 } }),
    )
    assert.match(answer, /"code":71,"message":"control protocol 9: ours is 1"/)
  })

  test('refuses what is malformed with EINVAL, and creates nothing', async () => {
    using managed = new Managed()
    for (const params of [
      undefined,
      {},
      { type: 1, uuid: UUID, attributes: [] },
      { type: 'test-1', uuid: 7, attributes: [] },
      { type: 'test-1', uuid: UUID, attributes: [['a']] },
      { type: 'test-1', uuid: UUID, attributes: 'rate' },
    ]) {
      const answer = await ask(managed.path, message({ id: 1, method: 'create', params }))
      assert.match(answer, /"code":22,/, JSON.stringify(params))
    }
    assert.deepEqual(managed.host.parent.mdevs, [])
  })

  test('says nothing to who has not said hello', async () => {
    using managed = new Managed()
    const socket = connect(managed.path)
    await once(socket, 'connect')
    const client = await managed.client()
    await client.create('test-1', UUID)
    socket.end()
    let heard = ''
    for await (const chunk of socket) heard += String(chunk)
    assert.equal(heard, '')
  })

  test('refuses a path where somebody listens', () => {
    using managed = new Managed()
    const { host, path } = managed
    assert.throws(
      () => new ControlServer({ host, path, log: silentLogger, onUnregistered: () => {} }),
      (error) => error instanceof ErrnoError && error.code === 'EADDRINUSE',
    )
  })
})
