/**
 * Commands that take their time, over a real connection whose table has one more: command 100 waits until the test lets it
 * go. Order and No_reply as section 2 of the reference has them.
 */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { createLogger } from '../../src/lib/log.ts'
import type { MdevSession } from '../../src/mdev/mdev-session.ts'
import { closeFd } from '../../src/os/fd.ts'
import { reactor } from '../../src/os/reactor.ts'
import { endWriting } from '../../src/os/socket-ends.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { COMMANDS } from '../../src/vfio-user/commands.ts'
import type { Command } from '../../src/vfio-user/command.ts'
import { Connection } from '../../src/vfio-user/connection.ts'
import { createBuffers } from '../../src/vfio-user/server.ts'
import { openFds } from '../support/fds.ts'
import { heldBuffers } from '../support/garbage.ts'
import { type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  dmaMap,
  DMA_MAP,
  message,
  NO_REPLY,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  u16,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const SLOW = 100
const DMA_READ = 11

/** A command that was received and waits. */
interface Call {
  readonly request: Buffer
  readonly resolve: (payload: Uint8Array) => void
  readonly reject: (error: unknown) => void
}

/** Connections to the device of this file; each has the slow command in its table. */
class SlowServer {
  readonly calls: Call[] = []
  readonly log: string[] = []
  closed = 0
  connection!: Connection
  /** The client's end of its twin socket. */
  twin = -1
  readonly #arrivals: ((call: Call) => void)[] = []
  readonly #served: Served

  constructor(served: Served) {
    this.#served = served
  }

  /** A client that has said VERSION. */
  async attach(json = '{}'): Promise<RawClient> {
    const [ours, theirs] = socketPair()
    let session: MdevSession | undefined
    const connection = new Connection({
      fd: ours,
      reactor: reactor(),
      buffers,
      log: createLogger('debug', (line) => this.log.push(line)),
      stats: this.#served.stats,
      commands: new Map([...COMMANDS, [SLOW, this.#slow]]),
      onClose: () => {
        this.closed++
        session?.close()
      },
    })
    this.connection = connection
    const user = { description: 'the test', process: '1', evict: () => connection.close() }
    session = this.#served.mdev.open(user, connection.container.memory)
    connection.start(session.device)
    const client = new RawClient(theirs)
    const reply = await client.requestFds(VERSION, versionPayload(json))
    assertSuccess(reply)
    this.twin = reply.fds[0] ?? -1
    return client
  }

  /** Waits until a slow command has come. */
  async call(): Promise<Call> {
    return this.calls.shift() ?? new Promise((resolve) => this.#arrivals.push(resolve))
  }

  readonly #slow: Command = {
    name: 'SLOW',
    minPayload: 0,
    maxFds: 1,
    run: async (_client, request) => {
      const bytes = Buffer.from(request.payload())
      return new Promise((resolve, reject) => {
        const call = { request: bytes, resolve, reject }
        const arrival = this.#arrivals.shift()
        if (arrival === undefined) this.calls.push(call)
        else arrival(call)
      })
    },
  }
}

const buffers = createBuffers()
let served: Served
let device: TestDevice
let server: SlowServer
let client: RawClient
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  server = new SlowServer(served)
  client = await server.attach()
})
afterEach(() => {
  client.close()
  server.connection.close()
  served[Symbol.dispose]()
})

/** Lets the server's end come to rest: another connection is served meanwhile, so many times. */
async function turns(): Promise<void> {
  const uuid = '99999999-2222-4333-8444-555555555555'
  const mdev = await served.host.create('test-1', uuid)
  {
    using other = await RawClient.attach(served.host.socketOf(mdev))
    for (let i = 0; i < 50; i++) await other.assertAlive()
  }
  await served.detached()
  await served.host.parent.remove(uuid)
}

const slow = (id: number, options: { flags?: number; payload?: Uint8Array } = {}) =>
  message(SLOW, options.payload, { id, flags: options.flags ?? 0 })
const write = (id: number, value: number, flags = 0) =>
  message(REGION_WRITE, access(0, 0, 4, u32(value)), { id, flags })
const read = (id: number) => message(REGION_READ, access(0, 0, 4), { id })

describe('a command that takes its time', () => {
  test('is answered with the payload that it comes to', async () => {
    await client.send(slow(7, { payload: Buffer.from('ask') }))
    const call = await server.call()
    assert.equal(call.request.toString(), 'ask')
    call.resolve(Buffer.from('answer'))
    const reply = await client.reply()
    assertSuccess(reply)
    assert.deepEqual([reply.id, reply.command, reply.payload.toString()], [7, SLOW, 'answer'])
  })

  test('may be answered with more than the shared buffer holds', async () => {
    const payload = Buffer.alloc(3 * 2 ** 20, 'x')
    await client.send(slow(7))
    ;(await server.call()).resolve(payload)
    assert.ok((await client.reply()).payload.equals(payload))
    await client.assertAlive()
  })

  test('that is rejected has the errno of its error, and the connection lives', async () => {
    await client.send(slow(7))
    ;(await server.call()).reject(new ErrnoError('EEXIST', 'slow: there already'))
    assertRefused(await client.reply(), 'EEXIST')
    await client.assertAlive()
  })

  test('that is rejected by a bug is EIO, and the bug is logged', async () => {
    await client.send(slow(7))
    ;(await server.call()).reject(new Error('a bug'))
    assertRefused(await client.reply(), 'EIO')
    assert.ok(server.log.some((line) => line.includes('SLOW: replying EIO')))
  })

  test('with No_reply has no reply, and is done before the next is run', async () => {
    await client.send(Buffer.concat([slow(1, { flags: NO_REPLY }), read(2)]))
    const call = await server.call()
    device.scratch.writeUInt32LE(5)
    call.resolve(Buffer.alloc(8))
    const reply = await client.reply()
    assert.deepEqual([reply.id, reply.payload.readUInt32LE(16)], [2, 5])
  })

  test('with No_reply that is rejected has no reply either', async () => {
    await client.send(Buffer.concat([slow(1, { flags: NO_REPLY }), read(2)]))
    ;(await server.call()).reject(new ErrnoError('EINVAL', 'slow: no'))
    assert.equal((await client.reply()).id, 2)
  })

  test('gets no further than the checks of its table entry', async () => {
    const [fd, other] = socketPair()
    try {
      assertRefused(await client.request(SLOW, Buffer.alloc(0), { fds: [fd, other] }), 'EINVAL')
    } finally {
      closeFd(fd)
      closeFd(other)
    }
    assert.equal(server.calls.length, 0)
  })
})

describe('while a command takes its time', () => {
  test('the replies before it are out already', async () => {
    await client.send(Buffer.concat([write(1, 3), read(2), slow(3)]))
    const call = await server.call()
    assert.deepEqual([(await client.reply()).id, (await client.reply()).id], [1, 2])
    call.resolve(Buffer.alloc(0))
    assert.equal((await client.reply()).id, 3)
  })

  for (const [title, send] of [
    ['that came with it', async (bytes: Buffer) => client.send(Buffer.concat([slow(1), bytes]))],
    [
      'that come after it',
      async (bytes: Buffer) => {
        await client.send(slow(1))
        await turns()
        await client.send(bytes)
      },
    ],
  ] as const) {
    test(`the commands ${title} wait, and follow in order`, async () => {
      await send(Buffer.concat([write(2, 0xaa, NO_REPLY), slow(3), write(4, 0xbb), read(5)]))
      const first = await server.call()
      await turns()
      assert.equal(device.scratch.readUInt32LE(), 0, 'not written yet')
      first.resolve(Buffer.alloc(0))
      const second = await server.call()
      assert.equal(device.scratch.readUInt32LE(), 0xaa)
      assert.equal((await client.reply()).id, 1)
      second.resolve(Buffer.alloc(0))
      assert.equal((await client.reply()).id, 3)
      assert.equal((await client.reply()).id, 4)
      assert.equal((await client.reply()).payload.readUInt32LE(16), 0xbb)
    })
  }

  test('fds go on belonging to the command that they came with', async () => {
    const [fd, other] = socketPair()
    try {
      await client.send(slow(1))
      const call = await server.call()
      await client.send(message(DMA_MAP, dmaMap({ iova: 0x1000 }), { id: 2 }))
      await client.send(message(DMA_MAP, dmaMap(), { id: 3 }), [fd])
      call.resolve(Buffer.alloc(0))
      assert.equal((await client.reply()).id, 1)
      assertSuccess(await client.reply())
      assertRefused(await client.reply(), 'EINVAL') // a socket is no memory
    } finally {
      closeFd(fd)
      closeFd(other)
    }
  })

  test('what came with it is done when it has settled, though it is more than one share', async () => {
    const reads = Array.from({ length: 300 }, (_, id) =>
      message(REGION_READ, access(0, 0, 4), { id }),
    )
    await client.send(Buffer.concat([message(SLOW), ...reads])) // so that nothing is left in the socket to tell
    const call = await server.call()
    call.resolve(new Uint8Array(0))
    assertSuccess(await client.reply())
    for (const id of reads.keys()) assert.equal((await client.reply()).id, id)
  })

  test('nothing more than one window is taken from the socket, whatever is sent', async () => {
    await client.send(slow(1))
    const call = await server.call()
    const posted = write(2, 9, NO_REPLY)
    const many = Buffer.concat(Array.from({ length: 1000 }, () => posted))
    const memory = await heldBuffers()
    let sent = 0
    for (let count = 1; count > 0; sent += count) count = client.sendNow(many)
    await turns()
    assert.equal(client.sendNow(many), 0, 'the socket is as full as before')
    assert.ok((await heldBuffers()) - memory < 2 ** 20)
    call.resolve(Buffer.alloc(0))
    await client.send(many.subarray(sent % many.length)) // the rest of the message that was cut
    assert.equal((await client.reply()).id, 1)
    await client.assertAlive()
  })

  test('other clients are served', async () => {
    await client.send(slow(1))
    const call = await server.call()
    await turns()
    call.resolve(Buffer.alloc(0))
    assertSuccess(await client.reply())
  })

  test('a request of ours goes out; its answer is taken when the command has settled', async () => {
    assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // bus master
    assertSuccess(await client.request(DMA_MAP, dmaMap()))
    await client.send(slow(1))
    const call = await server.call()
    const target = Buffer.alloc(4)
    const reading = device.dma.read(0, target)
    const asked = await client.reply()
    assert.equal(asked.command, DMA_READ)
    const answer = Buffer.concat([u64(0, 4), Buffer.from('data')])
    await client.send(message(DMA_READ, answer, { id: asked.id, flags: 1 }))
    await turns()
    assert.equal(target.toString('latin1'), '\0\0\0\0')
    call.resolve(Buffer.alloc(0))
    await reading
    assert.equal(target.toString(), 'data')
    assert.equal((await client.reply()).id, 1)
  })
})

describe('a client that goes while its command takes its time', () => {
  test('is noticed at once, and the result is dropped', async () => {
    await client.send(Buffer.concat([slow(1), write(2, 7)]))
    const call = await server.call()
    client.close()
    await served.idle()
    assert.equal(server.closed, 1)
    call.resolve(Buffer.alloc(16))
    client = await server.attach()
    await client.assertAlive()
    assert.equal(server.closed, 1)
  })

  test('may have its command rejected, which is nobody’s any more', async () => {
    await client.send(slow(1))
    const call = await server.call()
    client.close()
    await served.idle()
    call.reject(new ErrnoError('ECONNRESET', 'slow: the client has gone'))
    client = await server.attach()
    await client.assertAlive()
  })

  test('leaves no fd of the commands that waited', async () => {
    client.close()
    await served.idle()
    const before = openFds()
    const [fd, other] = socketPair()
    client = await server.attach()
    await client.send(Buffer.concat([slow(1), message(DMA_MAP, dmaMap(), { id: 2 })]), [fd])
    await server.call()
    client.close()
    closeFd(fd)
    closeFd(other)
    await served.idle()
    assert.deepEqual(openFds(), before)
  })

  test('is found out by poll(), so that the next may follow at once', async () => {
    await client.send(slow(1))
    await server.call()
    server.connection.poll()
    assert.equal(server.closed, 0, 'it is there still')
    client.close()
    server.connection.poll()
    assert.equal(server.closed, 1)
  })

  test('only half, gets its reply before the end', async () => {
    await client.send(slow(1))
    const call = await server.call()
    endWriting(client.fd)
    await turns()
    call.resolve(Buffer.from('late'))
    assert.equal((await client.reply()).payload.toString(), 'late')
    await client.end()
  })

  test('because its device is removed, is told nothing more', async () => {
    await client.send(slow(1))
    const call = await server.call()
    const removed = served.host.parent.remove(served.mdev.uuid, { force: true })
    await client.end()
    await removed
    call.resolve(Buffer.alloc(0))
    await turns()
    assert.equal(server.closed, 1)
  })
})

test('with a twin socket, a command may depend on what it asks of its client', async () => {
  client.close()
  await served.idle()
  client = await server.attach('{"capabilities":{"twin_socket":{"supported":true}}}')
  using twin = new RawClient(server.twin)
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // bus master
  assertSuccess(await client.request(DMA_MAP, dmaMap()))
  await client.send(slow(1))
  const call = await server.call()
  const target = Buffer.alloc(4)
  const reading = device.dma.read(0, target)
  const { id } = await twin.reply()
  const answer = Buffer.concat([u64(0, 4), Buffer.from('data')])
  await twin.send(message(DMA_READ, answer, { id, flags: 1 }))
  await reading
  call.resolve(target)
  assert.equal((await client.reply()).payload.toString(), 'data')
})
