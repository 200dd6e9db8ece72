/** The twin socket: a second socket, by which the server's own requests go (section 5.2 of the reference). */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { Client } from '../../src/vfio-user/client.ts'
import { closeFd } from '../../src/os/fd.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { makeMemfd, makePipe, openFds } from '../support/fds.ts'
import { REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  GET_INFO,
  message,
  NO_REPLY,
  RawClient,
  type RawReply,
  REGION_WRITE,
  u16,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const DMA_READ = 11
const DMA_WRITE = 12
const WANTS_TWIN = '{"capabilities":{"twin_socket":{"supported":true}}}'
/** A page without a file, which is reached by message. */
const IOVA = 0x10_0000

/** The reply to a DMA_READ. */
function dataOf({ id, payload }: RawReply, data: string): Buffer {
  const address = payload.readBigUInt64LE()
  const answer = Buffer.concat([u64(address, data.length), Buffer.from(data)])
  return message(DMA_READ, answer, { id, flags: 1 })
}

describe('a server', () => {
  let served: Served
  let device: TestDevice
  let before: string[]
  let main: RawClient
  let twin: RawClient
  beforeEach(async () => {
    ;({ served, device } = await serveTestDevice())
    before = openFds()
    main = RawClient.connect(served.path)
    const reply = await main.requestFds(VERSION, versionPayload(WANTS_TWIN))
    assertSuccess(reply)
    assert.match(reply.payload.toString(), /"twin_socket":\{"supported":true,"fd_index":0\}/)
    assert.equal(reply.fds.length, 1)
    twin = new RawClient(reply.fds[0] ?? -1)
    assertSuccess(await main.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // bus master
    assertSuccess(await main.request(DMA_MAP, dmaMap({ iova: IOVA })))
  })
  afterEach(async () => {
    main.close()
    twin.close()
    await served.idle()
    assert.deepEqual(openFds(), before, 'no fd is left')
    served[Symbol.dispose]()
  })

  test('asks on the twin, and takes the answer there', async () => {
    const target = Buffer.alloc(8)
    const reading = device.dma.read(IOVA + 8, target)
    const asked = await twin.reply()
    assert.deepEqual([asked.command, asked.flags, asked.fds], [DMA_READ, 0, []])
    assert.deepEqual(asked.payload, u64(IOVA + 8, 8))
    await twin.send(dataOf(asked, 'by twin.'))
    await reading
    assert.equal(target.toString(), 'by twin.')
    await main.assertAlive()
  })

  test('asks at once, before the command that it is in is answered', async () => {
    device.onWrite = () => void device.dma.write(IOVA, Buffer.from('data'))
    const write = message(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1)), { id: 9 })
    await main.send(Buffer.concat([write, message(GET_INFO, u32(16, 0, 0, 0), { id: 10 })]))
    const asked = await twin.reply()
    assert.equal(asked.command, DMA_WRITE)
    assert.equal(asked.payload.toString('latin1', 16), 'data')
    await twin.send(message(DMA_WRITE, Buffer.alloc(0), { id: asked.id, flags: 1 }))
    assert.deepEqual([(await main.reply()).id, (await main.reply()).id], [9, 10])
  })

  test('takes an answer on the twin in any pieces, also amid a command on the other', async () => {
    const target = Buffer.alloc(4)
    const reading = device.dma.read(IOVA, target)
    const answer = dataOf(await twin.reply(), 'abcd')
    const info = message(GET_INFO, u32(16, 0, 0, 0), { id: 5 })
    for (let at = 0; at < Math.max(answer.length, info.length); at++) {
      await twin.send(answer.subarray(at, at + 1))
      await main.send(info.subarray(at, at + 1))
      await twin.received()
      await main.received()
    }
    await reading
    assert.equal(target.toString(), 'abcd')
    assertSuccess(await main.reply())
  })

  test('drops an answer that comes on the other socket', async () => {
    const target = Buffer.alloc(4)
    const reading = device.dma.read(IOVA, target)
    const asked = await twin.reply()
    await main.send(dataOf(asked, 'main'))
    await main.assertAlive()
    assert.deepEqual(target, Buffer.alloc(4))
    await twin.send(dataOf(asked, 'twin'))
    await reading
    assert.equal(target.toString(), 'twin')
  })

  test('refuses a command on the twin with EINVAL, and both live on', async () => {
    const [fd, other] = socketPair()
    for (const [command, payload] of [
      [GET_INFO, u32(16, 0, 0, 0)],
      [VERSION, versionPayload('{}')],
      [DMA_MAP, dmaMap({ iova: 0x20_0000 })],
      [99, Buffer.alloc(0)],
    ] as const) {
      assertRefused(await twin.request(command, payload, { fds: [fd] }), 'EINVAL')
    }
    assertRefused(await twin.request(GET_INFO, u32(16, 0, 0, 0), { flags: 2 }), 'EINVAL')
    await twin.send(message(GET_INFO, u32(16, 0, 0, 0), { flags: NO_REPLY }))
    assertRefused(await twin.request(99), 'EINVAL')
    await main.assertAlive()
    closeFd(fd)
    closeFd(other)
  })

  test('reads no more of a twin that does not read, and goes on with the other', async () => {
    const many = Buffer.concat(Array.from({ length: 1000 }, () => message(99)))
    const memory = process.memoryUsage().heapUsed
    for (let taken = 1; taken > 0; await main.assertAlive()) taken = twin.sendNow(many)
    assert.ok(process.memoryUsage().heapUsed - memory < 64 * 2 ** 20)
    await main.assertAlive()
  })

  test('ends the connection when the twin ends', async () => {
    twin.close()
    await main.end()
  })

  test('does all that was sent before both ended', async () => {
    const writes = Array.from({ length: 1000 }, (_, i) =>
      message(REGION_WRITE, access(0, 0, 4, u32(i)), { flags: NO_REPLY }),
    )
    await main.send(Buffer.concat(writes))
    main.close()
    twin.close()
    await served.detached()
    assert.equal(served.stats.regionWrites, 1 + 1000)
  })

  test('ends the twin when the connection ends', async () => {
    main.close()
    await twin.end()
  })

  test('ends both when the framing of the twin breaks', async () => {
    await twin.send(message(DMA_READ, undefined, { flags: 1, size: 15 }))
    await twin.end()
    await main.end()
  })

  test('rejects what it asked when either ends', async () => {
    const reading = device.dma.read(IOVA, Buffer.alloc(4))
    await twin.reply()
    twin.close()
    await assert.rejects(async () => reading, { code: 'ECONNRESET' })
  })
})

describe('a server that is asked for a twin', () => {
  let served: Served
  beforeEach(async () => ({ served } = await serveTestDevice()))
  afterEach(() => served[Symbol.dispose]())

  for (const [title, payload, flags] of [
    ['in a VERSION with No_reply', versionPayload(WANTS_TWIN), NO_REPLY],
    ['in a VERSION of another major', versionPayload(WANTS_TWIN, { major: 1 }), 0],
    [
      'beside a key of a wrong type',
      versionPayload('{"capabilities":{"twin_socket":{"supported":true},"pgsizes":"x"}}'),
      0,
    ],
  ] as const) {
    test(`${title} opens none`, async () => {
      const before = openFds()
      {
        using client = RawClient.connect(served.path)
        await client.send(message(VERSION, payload, { flags }))
        if (flags === NO_REPLY) await client.assertAlive()
        else assertRefused(await client.reply(), 'EINVAL')
      }
      await served.idle()
      assert.deepEqual(openFds(), before)
    })
  }

  test('by a client that has gone before the answer leaves no fd', async () => {
    const before = openFds()
    const client = RawClient.connect(served.path)
    await client.send(message(VERSION, versionPayload(WANTS_TWIN)))
    client.close()
    await served.detached()
    assert.deepEqual(openFds(), before)
  })
})

/** A server's end in the hands of the test: answers VERSION with `json` and `fds`. */
async function attachTo(
  json: string,
  fds: readonly number[],
  options: { twinSocket?: boolean } = {},
): Promise<{ client: Client; server: RawClient; proposal: string; negotiated: Promise<void> }> {
  const [ours, theirs] = socketPair()
  const server = new RawClient(ours)
  const client = Client.overSocket(theirs, options)
  const negotiated = client.negotiate()
  const asked = await server.reply()
  const proposal = asked.payload.toString('utf8', 4)
  await server.send(message(VERSION, versionPayload(json), { id: asked.id, flags: 1 }), fds)
  return { client, server, proposal, negotiated }
}

const OFFER = '{"capabilities":{"twin_socket":{"supported":true,"fd_index":0}}}'

describe('a client', () => {
  test('asks for a twin unless told otherwise', async () => {
    for (const [twinSocket, says] of [
      [undefined, true],
      [true, true],
      [false, false],
    ] as const) {
      const options = twinSocket === undefined ? {} : { twinSocket }
      const { client, server, proposal, negotiated } = await attachTo('{}', [], options)
      await negotiated
      assert.equal(proposal.includes('"twin_socket":{"supported":true}'), says)
      client.detach()
      server.close()
    }
  })

  test('answers on the twin what it is asked there', async () => {
    const before = openFds()
    const [ours, theirs] = socketPair()
    const { client, server, negotiated } = await attachTo(OFFER, [theirs])
    closeFd(theirs)
    await negotiated
    using twin = new RawClient(ours)
    const mapping = client.map(IOVA, 4096, { shared: false })
    const { id } = await server.reply()
    await server.send(message(DMA_MAP, undefined, { id, flags: 1 }))
    const memory = await mapping
    memory.bytes.set(Buffer.from('mine'), 8)
    const { payload } = await twin.request(DMA_READ, u64(IOVA + 8, 4))
    assert.equal(payload.toString('utf8', 16), 'mine')
    assertSuccess(await twin.request(DMA_WRITE, Buffer.concat([u64(IOVA, 4), Buffer.from('your')])))
    assert.equal(Buffer.from(memory.bytes.subarray(0, 4)).toString(), 'your')
    client.detach()
    await twin.end()
    await server.end()
    server.close()
    twin.close()
    assert.deepEqual(openFds(), before)
  })

  test('ends the connection when the twin ends', async () => {
    const [ours, theirs] = socketPair()
    const { client, server, negotiated } = await attachTo(OFFER, [theirs])
    closeFd(theirs)
    await negotiated
    const asked = client.info()
    closeFd(ours)
    await assert.rejects(asked, { code: 'ECONNRESET' })
    await server.reply()
    await server.end()
    server.close()
  })

  test('ends the connection at a reply on the twin', async () => {
    const [ours, theirs] = socketPair()
    const { client, server, negotiated } = await attachTo(OFFER, [theirs])
    closeFd(theirs)
    await negotiated
    using twin = new RawClient(ours)
    const asked = client.info()
    const { id } = await server.reply()
    await twin.send(message(GET_INFO, u32(16, 3, 9, 5), { id, flags: 1 }))
    await assert.rejects(asked, { code: 'EPROTO' })
    server.close()
  })

  const socket = () => socketPair()
  const none = (): number[] => []
  /** Answers that contradict themselves: JSON of twin_socket, the fds that come with it. */
  const INCONSISTENT: readonly [string, string, () => readonly number[], boolean?][] = [
    ['no fd', '{"supported":true,"fd_index":0}', none],
    ['no fd_index', '{"supported":true}', socket],
    ['an fd_index out of range', '{"supported":true,"fd_index":2}', socket],
    ['an fd_index beyond what it may send', '{"supported":true,"fd_index":4294967296}', socket],
    ['a file for a socket', '{"supported":true,"fd_index":0}', () => [makeMemfd(0)]],
    ['a pipe for a socket', '{"supported":true,"fd_index":0}', makePipe],
    ['a twin unasked', '{"supported":true,"fd_index":0}', socket, false],
  ]
  for (const [title, offer, make, twinSocket = true] of INCONSISTENT) {
    test(`refuses a server that gives ${title}, and closes all fds`, async () => {
      const before = openFds()
      const fds = make()
      const json = `{"capabilities":{"twin_socket":${offer}}}`
      const { client, server, negotiated } = await attachTo(json, fds, { twinSocket })
      await assert.rejects(negotiated, { code: 'EPROTO' })
      client.detach()
      server.close()
      for (const fd of fds) closeFd(fd)
      assert.deepEqual(openFds(), before)
    })
  }

  for (const offer of ['true', '[]', '{"supported":1}', '{"supported":true,"fd_index":-1}']) {
    test(`refuses twin_socket ${offer}, and closes all fds`, async () => {
      const before = openFds()
      const fds = socketPair()
      const json = `{"capabilities":{"twin_socket":${offer}}}`
      const { client, server, negotiated } = await attachTo(json, fds)
      await assert.rejects(negotiated, { code: 'EINVAL' })
      client.detach()
      server.close()
      for (const fd of fds) closeFd(fd)
      assert.deepEqual(openFds(), before)
    })
  }

  test('takes the fd that fd_index says, and closes the others', async () => {
    const before = openFds()
    const [ours, theirs] = socketPair()
    const [pipe, end] = makePipe()
    const offer = '{"capabilities":{"twin_socket":{"supported":true,"fd_index":1}}}'
    const { client, server, negotiated } = await attachTo(offer, [pipe, theirs, end])
    for (const fd of [pipe, theirs, end]) closeFd(fd)
    await negotiated
    using twin = new RawClient(ours)
    const { error } = await twin.request(99)
    assert.equal(error, 38) // ENOSYS, as QEMU has it
    client.detach()
    server.close()
    twin.close()
    assert.deepEqual(openFds(), before)
  })
})
