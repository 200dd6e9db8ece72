/** Our client: what it does for a program, and what it makes of servers that are wrong (section 17.4 of the reference). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { closeFd } from '../../src/os/fd.ts'
import { listenUnix } from '../../src/os/unix-socket.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { openFds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'
import {
  BIG_SIZE,
  MSI_VECTORS,
  MSIX_VECTORS,
  REGISTER,
  type TestDevice,
} from '../support/vfio-user-device.ts'
import { answer, FakeServer, type Request, type Script } from '../support/vfio-user-fake.ts'
import {
  access,
  DMA_MAP,
  GET_INFO,
  hex,
  message,
  REGION_READ,
  REGION_WRITE,
  u16,
  u32,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice, UUID } from '../support/vfio-user-served.ts'

const MIB = 1048576

/** What of a process's fds a client may leave: nothing. Those of the fake server come and go by themselves. */
function ourFds(): string[] {
  return openFds().filter((line) => /eventfd|memfd/.test(line))
}

describe('Client', () => {
  let served: Served
  let device: TestDevice
  let client: Client
  before(async () => {
    ;({ served, device } = await serveTestDevice())
  })
  after(() => served[Symbol.dispose]())
  beforeEach(async () => {
    client = await Client.attach(served.path)
  })
  afterEach(async () => {
    client.detach()
    await served.idle()
  })

  test('attaches, and learns what the server can do', () => {
    assert.deepEqual(client.capabilities, {
      max_msg_fds: 16,
      max_data_xfer_size: MIB,
      max_dma_maps: 65535,
      pgsizes: 4096,
      write_multiple: true,
      sparse_mmap_fds: true, // as we said: it is a client's
      twin_socket: { supported: true, fd_index: 0 },
    })
  })

  test('says what is there', async () => {
    assert.deepEqual(await client.info(), { flags: 3, regionCount: 9, irqCount: 5 })
    assert.deepEqual(await client.regionInfo(2), { flags: 3, size: BIG_SIZE })
    assert.deepEqual(await client.irqInfo(2), { flags: 1, count: MSIX_VECTORS })
  })

  test('reads and writes registers and runs of bytes', async () => {
    await client.writeRegister(0, 0x10, 0xfedcba98, 4)
    assert.equal(await client.readRegister(0, 0x10, 4), 0xfedcba98)
    assert.equal(await client.readRegister(0, 0x12, 2), 0xfedc)
    assert.equal(await client.readRegister(0, 0x10, 1), 0x98)
    const bytes = Buffer.alloc(MIB, 'a megabyte ')
    await client.write(2, BIG_SIZE - MIB, bytes)
    assert.ok(bytes.equals(await client.read(2, BIG_SIZE - MIB, MIB)))
  })

  test('posts writes: a read that follows finds them', async () => {
    for (let i = 0; i < 100; i++) client.post(0, 0x20, u32(i))
    assert.equal(await client.readRegister(0, 0x20, 4), 99)
  })

  test('pipelines: many requests at a time, each gets its own answer', async () => {
    for (let i = 0; i < 64; i++) client.post(0, i, Buffer.of(i))
    const values = await Promise.all(
      Array.from({ length: 64 }, (_, i) => client.readRegister(0, i, 1)),
    )
    assert.deepEqual(values, [...values.keys()])
  })

  test('throws the errno of a refusal, and goes on', async () => {
    await assert.rejects(client.read(0, 0x1000, 1), { code: 'EINVAL', errno: 22 })
    await assert.rejects(client.readRegister(0, REGISTER.bug, 4), { code: 'EIO' })
    await assert.rejects(client.writeRegister(0, REGISTER.refusing, 1, 4), { code: 'ENODEV' })
    await client.info()
  })

  test('refuses by itself a message that is too large, and goes on', async () => {
    await assert.rejects(client.write(2, 0, new Uint8Array(MIB + 65)), { code: 'EINVAL' })
    await client.info()
  })

  test('maps memory that the device shares, and takes it away', async () => {
    const before = ourFds()
    await client.writeRegister(7, 4, 4, 2) // Bus Master Enable
    const memory = await client.map(0x40000, 0x2000)
    const ofServer = ourFds().filter((fd) => !before.includes(fd))
    assert.equal(ofServer.length, 1) // the client itself keeps none
    memory.bytes.set(Buffer.from('from the client'), 0x1000)
    const seen = new Uint8Array(15)
    assert.equal(device.dma.read(0x41000, seen), undefined)
    assert.equal(Buffer.from(seen).toString(), 'from the client')
    assert.equal(device.dma.write(0x40000, Buffer.from('from the device')), undefined)
    assert.equal(Buffer.from(memory.bytes.subarray(0, 15)).toString(), 'from the device')
    await memory.unmap()
    assert.throws(() => device.dma.read(0x41000, seen), { code: 'EFAULT' })
    assert.deepEqual(resourcesOf().shared, [])
  })

  test('a map that the server refuses leaves neither fd nor mapping', async () => {
    await client.map(0, 0x2000)
    const { fds, shared } = resourcesOf()
    await assert.rejects(client.map(0x1000, 0x2000), { code: 'EEXIST' })
    assert.deepEqual(resourcesOf(), { ...resourcesOf(), fds, shared })
  })

  test('detach() gives memory back, which reads zeros from then on', async () => {
    const memory = await client.map(0, 0x1000)
    memory.bytes.fill(1)
    client.detach()
    await memory.unmap() // there is nothing left to do
    await served.idle()
    assert.deepEqual(resourcesOf().shared, [])
    assert.deepEqual(memory.bytes, new Uint8Array(0x1000))
  })

  test('waits for interrupts, and counts those that nobody waited for', async () => {
    const msi = await client.interrupts(1, MSI_VECTORS)
    const next = msi.next(3)
    await client.writeRegister(0, REGISTER.msi, 3, 4)
    await next
    await client.writeRegister(0, REGISTER.msi, 5, 4)
    await client.info()
    await msi.next(5)
    await assert.rejects(msi.next(MSI_VECTORS), RangeError)
  })

  test('assigns more vectors than fit into one message', async () => {
    const msix = await client.interrupts(2, MSIX_VECTORS)
    const next = [0, 15, 16, MSIX_VECTORS - 1].map((vector) => msix.next(vector))
    for (const vector of [0, 15, 16, MSIX_VECTORS - 1]) {
      await client.writeRegister(0, REGISTER.msix, vector, 4)
    }
    await Promise.all(next)
  })

  test('unmasks a level-triggered interrupt', async () => {
    const intx = await client.interrupts(0)
    await client.writeRegister(0, REGISTER.intx, 1, 4)
    for (let i = 0; i < 3; i++) {
      await intx.next()
      await intx.unmask()
    }
    await client.writeRegister(0, REGISTER.intx, 0, 4)
  })

  test('interrupts that are disabled leave no eventfd, and reject who waits', async () => {
    const before = ourFds()
    const intx = await client.interrupts(0)
    const next = assert.rejects(intx.next(), /disabled/)
    await intx.disable()
    await next
    await assert.rejects(intx.next(), /disabled/)
    assert.deepEqual(ourFds(), before)
  })

  test('interrupts that the server refuses leave no eventfd', async () => {
    const before = ourFds()
    await assert.rejects(client.interrupts(1, MSI_VECTORS + 1), { code: 'EINVAL' })
    assert.deepEqual(ourFds(), before)
  })

  test('detached, leaves nothing behind: fds, memory, who waits', async () => {
    client.detach()
    await served.idle()
    const before = openFds()
    client = await Client.attach(served.path)
    await client.map(0, 0x4000)
    await client.map(0x4000, 0x4000)
    const intx = await client.interrupts(0)
    const msix = await client.interrupts(2, MSIX_VECTORS)
    const waiting = [
      assert.rejects(intx.next(), { code: 'ECONNRESET' }),
      assert.rejects(msix.next(7), { code: 'ECONNRESET' }),
      assert.rejects(client.info(), { code: 'ECONNRESET' }),
    ]
    client.detach()
    client.detach()
    await Promise.all(waiting)
    await served.idle()
    assert.deepEqual(openFds(), before)
    await assert.rejects(client.info(), { code: 'ECONNRESET' })
    await assert.rejects(intx.next(), { code: 'ECONNRESET' })
    assert.throws(() => client.post(0, 0, Buffer.alloc(4)), { code: 'ECONNRESET' })
  })

  test('whose device is taken away rejects who waits', async () => {
    const uuid = '11111111-2222-4333-8444-555555555555'
    const other = await Client.attach(
      served.host.socketOf(await served.host.create('test-1', uuid)),
    )
    const intx = await other.interrupts(0)
    const waiting = [
      assert.rejects(intx.next(), { code: 'ECONNRESET' }),
      assert.rejects(other.info(), { code: 'ECONNRESET' }),
    ]
    await served.host.parent.remove(uuid, { force: true })
    await Promise.all(waiting)
    await assert.rejects(other.info(), { code: 'ECONNRESET' })
  })

  test('is refused while another is attached', async () => {
    await assert.rejects(Client.attach(served.path), { code: 'EBUSY' })
    await client.info()
    assert.equal(served.mdev.uuid, UUID)
  })
})

describe('Client.attach()', () => {
  test('where nothing is: ENOENT', async () => {
    using scratch = new Scratch()
    await assert.rejects(Client.attach(join(scratch.path, 'cntrl')), { code: 'ENOENT' })
  })

  test('where nobody listens any more: ECONNREFUSED', async () => {
    using scratch = new Scratch()
    const path = join(scratch.path, 'cntrl')
    closeFd(listenUnix(path, 0o600))
    await assert.rejects(Client.attach(path), { code: 'ECONNREFUSED' })
  })

  test('at a path that is too long: ENAMETOOLONG', async () => {
    await assert.rejects(Client.attach(`/tmp/${'x'.repeat(108)}`), { code: 'ENAMETOOLONG' })
  })

  test('at a server that closes at once: ECONNRESET', async () => {
    using scratch = new Scratch()
    const path = join(scratch.path, 'cntrl')
    const server = createServer((socket) => socket.destroy())
    server.listen(path)
    await once(server, 'listening')
    for (let i = 0; i < 10; i++) await assert.rejects(Client.attach(path), { code: 'ECONNRESET' })
    server.close()
    await once(server, 'close')
  })

  const json = (text: string) => versionPayload(text)

  const WRONG: readonly [title: string, code: string, script: Script][] = [
    ['closes instead of answering', 'ECONNRESET', (_, socket) => void socket.destroy()],
    ['sends a size of 0', 'EPROTO', (_, socket) => void socket.write(Buffer.alloc(16))],
    ['sends text', 'EPROTO', (_, socket) => void socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')],
    [
      'sends a size beyond the largest message',
      'EPROTO',
      (_, socket) => void socket.write(message(VERSION, undefined, { flags: 1, size: 2 * MIB })),
    ],
    [
      'answers another id',
      'EPROTO',
      (request, socket) => answer(socket, { ...request, id: request.id + 1 }, u16(0, 0)),
    ],
    [
      'answers another command',
      'EPROTO',
      (request, socket) => answer(socket, { ...request, command: GET_INFO }, u16(0, 0)),
    ],
    ['speaks major 1', 'EINVAL', (request, socket) => answer(socket, request, u16(1, 0))],
    ['speaks a newer minor', 'EINVAL', (request, socket) => answer(socket, request, u16(0, 3))],
    ['answers 2 bytes', 'EINVAL', (request, socket) => answer(socket, request, u16(0))],
    ['answers no payload', 'EINVAL', (request, socket) => answer(socket, request)],
    [
      'forgets the NUL',
      'EINVAL',
      (request, socket) => answer(socket, request, Buffer.concat([u16(0, 0), Buffer.from('{}')])),
    ],
    ['answers no object', 'EINVAL', (request, socket) => answer(socket, request, json('"yes"'))],
    [
      'answers max_msg_fds of the wrong type',
      'EINVAL',
      (request, socket) => answer(socket, request, json('{"capabilities":{"max_msg_fds":"8"}}')),
    ],
    [
      'refuses with EACCES',
      'EACCES',
      (request, socket) => answer(socket, request, undefined, { flags: 0x21, error: 13 }),
    ],
    [
      'refuses with errno 0, which is EIO',
      'EIO',
      (request, socket) => answer(socket, request, undefined, { flags: 0x21, error: 0 }),
    ],
    [
      'refuses with a payload',
      'EINVAL',
      (request, socket) => answer(socket, request, u32(1, 2, 3), { flags: 0x21, error: 22 }),
    ],
    [
      'leaves in the middle of its answer',
      'ECONNRESET',
      (request, socket) => {
        socket.end(message(VERSION, u16(0, 0), { id: request.id, flags: 1 }).subarray(0, 18))
      },
    ],
  ]

  for (const [title, code, script] of WRONG) {
    test(`at a server that ${title}: ${code}, and no fd is left`, async () => {
      await using server = await FakeServer.start(script)
      const before = ourFds()
      await assert.rejects(Client.attach(server.path), { code })
      assert.deepEqual(ourFds(), before)
    })
  }

  test("at a server that says nothing: ETIMEDOUT after QEMU's 5 s", async (t) => {
    await using server = await FakeServer.start(() => {})
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const attaching = assert.rejects(Client.attach(server.path), { code: 'ETIMEDOUT' })
    t.mock.timers.tick(5000)
    await attaching
  })

  test('at a server without JSON: the defaults of the protocol', async () => {
    await using server = await FakeServer.startAfterVersion(() => {})
    const client = await Client.attach(server.path)
    assert.deepEqual(client.capabilities, {
      max_msg_fds: 1,
      max_data_xfer_size: 1048576,
      max_dma_maps: 65535,
      pgsizes: 4096,
      write_multiple: false,
      sparse_mmap_fds: false,
    })
    client.detach()
  })
})

describe('Client, of a server that is wrong later', () => {
  test('tolerates answers to posted writes, as old servers give them', async () => {
    await using server = await FakeServer.startAfterVersion((request, socket) => {
      answer(
        socket,
        request,
        request.command === GET_INFO ? u32(16, 3, 9, 5) : request.payload.subarray(0, 16),
      )
    })
    const client = await Client.attach(server.path)
    for (let i = 0; i < 3; i++) client.post(0, 0, u32(i))
    assert.deepEqual(await client.info(), { flags: 3, regionCount: 9, irqCount: 5 })
    assert.deepEqual(
      server.requests.map(({ command, flags }) => [command, flags]),
      [
        [VERSION, 0],
        [REGION_WRITE, 0x10],
        [REGION_WRITE, 0x10],
        [REGION_WRITE, 0x10],
        [GET_INFO, 0],
      ],
    )
    client.detach()
  })

  test('gives no id to a second request while the first waits with it', async () => {
    const waiting: Request[] = []
    await using server = await FakeServer.startAfterVersion((request, socket) => {
      if (request.command !== GET_INFO) return
      waiting.push(request)
      if (waiting.length < 2) return
      for (const [i, each] of waiting.toReversed().entries()) {
        answer(socket, each, u32(16, 3, 9, i))
      }
    })
    const client = await Client.attach(server.path, { timeoutMs: 120_000 })
    const first = client.info()
    for (let i = 0; i < 2 ** 16 - 1; i++) client.post(0, 0, Buffer.alloc(1))
    const second = client.info()
    assert.equal((await second).irqCount, 0)
    assert.equal((await first).irqCount, 1)
    client.detach()
  })

  test('rejects a read whose answer is short', async () => {
    await using server = await FakeServer.startAfterVersion((request, socket) => {
      answer(socket, request, request.payload)
    })
    const client = await Client.attach(server.path)
    await assert.rejects(client.read(0, 0, 4), { code: 'EPROTO' })
    client.detach()
  })

  test('rejects every request that waits when the connection ends', async () => {
    await using server = await FakeServer.startAfterVersion((request, socket) => {
      if (request.command === REGION_READ) socket.destroy()
    })
    const client = await Client.attach(server.path)
    const waiting = [client.info(), client.reset(), client.irqInfo(0), client.read(0, 0, 4)]
    for (const each of await Promise.allSettled(waiting)) {
      assert.equal(each.status, 'rejected')
      assert.equal((each.reason as { code?: string }).code, 'ECONNRESET')
    }
  })

  test('rejects every request that waits when one is not answered in time', async (t) => {
    await using server = await FakeServer.startAfterVersion(() => {})
    const client = await Client.attach(server.path, { timeoutMs: 7000 })
    t.mock.timers.enable({ apis: ['setTimeout'] })
    const waiting = Promise.allSettled([client.info(), client.reset()])
    t.mock.timers.tick(7000)
    for (const each of await waiting) {
      assert.equal(each.status, 'rejected')
      assert.equal((each.reason as { code?: string }).code, 'ETIMEDOUT')
    }
    await assert.rejects(client.info(), { code: 'ETIMEDOUT' })
  })

  test('sends no fds without their message: EAGAIN while the server does not read', async () => {
    await using server = await FakeServer.startAfterVersion((_, socket) => void socket.pause())
    const client = await Client.attach(server.path)
    const before = ourFds()
    for (let i = 0; i < 100; i++) client.post(2, 0, Buffer.alloc(MIB / 16))
    await assert.rejects(client.map(0, 0x1000), { code: 'EAGAIN' })
    assert.deepEqual(ourFds(), before)
    assert.ok(!server.requests.some(({ command }) => command === DMA_MAP))
    client.detach()
  })

  test('goes on when the server reads at last', async () => {
    let paused = true
    await using server = await FakeServer.startAfterVersion((request, socket) => {
      if (paused) {
        paused = false
        socket.pause()
        setImmediate(() => socket.resume())
      }
      if (request.command === GET_INFO) answer(socket, request, u32(16, 3, 9, 5))
    })
    const client = await Client.attach(server.path)
    const data = Buffer.alloc(MIB / 16, 'posted')
    for (let i = 0; i < 100; i++) client.post(2, i, data)
    assert.equal((await client.info()).flags, 3)
    const writes = server.requests.filter(({ command }) => command === REGION_WRITE)
    assert.equal(writes.length, 100)
    for (const [i, { payload }] of writes.entries()) {
      assert.ok(payload.equals(access(2, i, data.length, data)), `write ${i}`)
    }
    client.detach()
  })

  test('is not disturbed by requests of the server that it does not know', async () => {
    await using server = await FakeServer.startAfterVersion((request, socket) => {
      socket.write(message(11, hex('00'.repeat(16)), { id: 0x8001 }))
      answer(socket, request, u32(16, 3, 9, 5))
    })
    const client = await Client.attach(server.path)
    assert.equal((await client.info()).regionCount, 9)
    client.detach()
  })
})
