/** A client that does not read its replies must not grow memory, nor keep others waiting (section 19 of the reference). */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { heldBuffers } from '../support/garbage.ts'
import { BIG_SIZE, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertSuccess,
  message,
  NO_REPLY,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  u32,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const OTHER_UUID = '11111111-2222-4333-8444-555555555555'
const MIB = 1048576

let served: Served
let device: TestDevice
let other: string
let client: RawClient
before(async () => {
  ;({ served, device } = await serveTestDevice())
  other = served.host.socketOf(await served.host.create('test-1', OTHER_UUID))
  for (let at = 0; at < BIG_SIZE; at += 4) device.big.writeUInt32LE(at, at)
})
after(() => served[Symbol.dispose]())
beforeEach(async () => {
  client = await RawClient.attach(served.path)
})
afterEach(() => client.close())

/** Asks for `count` MiB and takes none of it. */
async function askFor(count: number): Promise<void> {
  const requests = Array.from({ length: count }, (_, id) =>
    message(REGION_READ, access(2, (id % 4) * MIB, MIB), { id }),
  )
  await client.send(Buffer.concat(requests))
}

/** Another client is served, so many times that the server has come to its end with the first. */
async function serveOther(): Promise<void> {
  using client = await RawClient.attach(other)
  for (let i = 0; i < 200; i++) await client.assertAlive()
}

describe('a client that does not read', () => {
  test('is not read either: its requests wait, and memory stays bounded', async () => {
    const reads = served.stats.regionReads
    const memory = await heldBuffers()
    await askFor(1000)
    await serveOther()
    // One reply fills the socket; the outbox, which holds one and a little, is all that may be kept.
    assert.ok(served.stats.regionReads - reads <= 2, `${served.stats.regionReads - reads} reads`)
    assert.ok((await heldBuffers()) - memory < 8 * MIB)
    await serveOther()
    assert.ok(served.stats.regionReads - reads <= 2)
  })

  test('gets every reply, in order, when it reads at last', async () => {
    const count = 50
    await askFor(count)
    await serveOther()
    for (let id = 0; id < count; id++) {
      const reply = await client.reply()
      assertSuccess(reply)
      assert.equal(reply.id, id)
      const at = (id % 4) * MIB
      assert.ok(reply.payload.subarray(16).equals(device.big.subarray(at, at + MIB)), `reply ${id}`)
    }
    await client.assertAlive()
  })

  test('may leave: the next client is served', async () => {
    await askFor(100)
    await serveOther()
    client.close()
    client = await RawClient.attach(served.path)
    await client.assertAlive()
  })

  test('may be removed', async () => {
    const uuid = '99999999-2222-4333-8444-555555555555'
    const mdev = await served.host.create('test-1', uuid)
    client.close()
    client = await RawClient.attach(served.host.socketOf(mdev))
    await askFor(100)
    await serveOther()
    await served.host.parent.remove(uuid, { force: true })
    await client.receive(100_000)
    assert.throws(() => client.sendNow(Buffer.alloc(16)), { code: 'EPIPE' })
  })

  test('may go on posting writes, which need no reply', async () => {
    const write = message(REGION_WRITE, access(0, 0, 4, u32(7)), { flags: NO_REPLY })
    const many = Buffer.concat(Array.from({ length: 1000 }, () => write))
    const writes = served.stats.regionWrites
    for (let i = 0; i < 20; i++) await client.send(many)
    await client.assertAlive()
    assert.equal(served.stats.regionWrites - writes, 20_000)
  })
})
