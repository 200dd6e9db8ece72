/** What a server asks of a client, right and wrong, and a server that does not read (sections 12 and 17.4 of the reference). */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { Client, type ClientMemory } from '../../src/vfio-user/client.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { makePipe, openFds } from '../support/fds.ts'
import { closeFd } from '../../src/os/fd.ts'
import {
  DMA_MAP,
  message,
  NO_REPLY,
  RawClient,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { heldBuffers } from '../support/garbage.ts'

const DMA_READ = 11
const DMA_WRITE = 12
const IOVA = 0x10_0000
const MIB = 2 ** 20
const [EFAULT, EINVAL, ENOSYS] = [14, 22, 38]

let server: RawClient
let client: Client
let memory: ClientMemory
beforeEach(async () => {
  const [ours, theirs] = socketPair()
  server = new RawClient(ours)
  client = Client.overSocket(theirs)
  const attached = client.negotiate()
  const { id } = await server.reply()
  await server.send(message(VERSION, versionPayload('{}'), { id, flags: 1 }))
  await attached
  const mapped = client.map(IOVA, 2 * MIB, { shared: false })
  const asked = await server.reply()
  await server.send(message(DMA_MAP, undefined, { id: asked.id, flags: 1 }))
  memory = await mapped
})
afterEach(() => {
  client.detach()
  server.close()
})

describe('a client', () => {
  test('reads and writes its memory for the server', async () => {
    memory.bytes.set(Buffer.from('mine'), 2 * MIB - 4)
    const read = await server.request(DMA_READ, u64(IOVA + 2 * MIB - 4, 4))
    assert.equal(read.payload.toString('utf8', 16), 'mine')
    const write = await server.request(
      DMA_WRITE,
      Buffer.concat([u64(IOVA, 4), Buffer.from('your')]),
    )
    assert.deepEqual([write.error, write.payload], [0, u64(IOVA, 4)])
    assert.equal(Buffer.from(memory.bytes.subarray(0, 4)).toString(), 'your')
  })

  /** Command, payload, errno. */
  const REFUSED: readonly [string, number, Buffer, number][] = [
    ['memory that is not mapped', DMA_READ, u64(0, 4), EFAULT],
    ['memory before a map', DMA_READ, u64(IOVA - 1, 4), EFAULT],
    ['memory beyond a map', DMA_READ, u64(IOVA + 2 * MIB - 3, 4), EFAULT],
    ['more than a transfer', DMA_READ, u64(IOVA, MIB + 1), EINVAL],
    ['no payload', DMA_READ, Buffer.alloc(0), EINVAL],
    ['a payload of 15 bytes', DMA_READ, Buffer.alloc(15), EINVAL],
    ['less data than it says', DMA_WRITE, Buffer.concat([u64(IOVA, 4), Buffer.alloc(3)]), EINVAL],
    ['more data than it says', DMA_WRITE, Buffer.concat([u64(IOVA, 4), Buffer.alloc(5)]), EINVAL],
    ['a command of a client', 4, u32(16, 0, 0, 0), ENOSYS],
    ['an unknown command', 99, Buffer.alloc(0), ENOSYS],
  ]
  for (const [title, command, payload, errno] of REFUSED) {
    test(`refuses ${title} with errno ${errno}, and goes on`, async () => {
      const { size, flags, error } = await server.request(command, payload)
      assert.deepEqual({ size, flags, error }, { size: 16, flags: 0x21, error: errno })
      assert.equal((await server.request(DMA_READ, u64(IOVA, 1))).error, 0)
      assert.ok(memory.bytes.subarray(0, 8).every((byte) => byte === 0))
    })
  }

  test('does what has No_reply, and answers nothing', async () => {
    const write = Buffer.concat([u64(IOVA, 4), Buffer.from('your')])
    await server.send(message(DMA_WRITE, write, { flags: NO_REPLY }))
    await server.send(message(99, undefined, { flags: NO_REPLY }))
    const read = await server.request(DMA_READ, u64(IOVA, 4))
    assert.equal(read.payload.toString('utf8', 16), 'your')
  })

  test('closes the fds of a request', async () => {
    const before = openFds()
    const pipe = makePipe()
    await server.request(DMA_READ, u64(IOVA, 4), { fds: pipe })
    for (const fd of pipe) closeFd(fd)
    assert.deepEqual(openFds(), before)
  })

  test('answers no more of a server that does not read, and keeps a few MiB at most', async () => {
    const many = Buffer.concat(Array.from({ length: 500 }, () => message(DMA_READ, u64(IOVA, MIB))))
    const before = await heldBuffers()
    let sent = 0
    for (let i = 0; i < 200; i++) {
      if (i < 100) sent += server.sendNow(many)
      await new Promise((resolve) => setImmediate(resolve))
    }
    assert.ok((await heldBuffers()) - before < 16 * MIB)
    const replies = Math.floor(sent / 32)
    assert.ok(replies > 500)
    for (let i = 0; i < 20; i++) assert.equal((await server.reply()).payload.length, 16 + MIB)
  })

  test('that gets a reply to nothing that it asked ends the connection: EPROTO', async () => {
    const asked = client.info()
    const { id } = await server.reply()
    await server.send(message(4, u32(16, 3, 9, 5), { id: id + 1, flags: 1 }))
    await assert.rejects(asked, { code: 'EPROTO' })
  })
})
