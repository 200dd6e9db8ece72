/** One client at a time: who is let in, who is not, and what is left of those who went (section 19, connection handling). */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { openSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { EventFd } from '../../src/os/eventfd.ts'
import { Fds, makeMemfd, openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'
import { REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  GET_INFO,
  irqSet,
  message,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  SET_IRQS,
  u32,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice, UUID } from '../support/vfio-user-served.ts'

const OTHER_UUID = '11111111-2222-4333-8444-555555555555'
const MIB = 1048576

let served: Served
let device: TestDevice
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
})
afterEach(() => served[Symbol.dispose]())

describe('Server', () => {
  test('listens at a socket of mode 0600', () => {
    assert.equal(statSync(served.path).mode & 0o777, 0o600)
    assert.ok(statSync(served.path).isSocket())
  })

  test('ends a second client that says nothing, and the first notices nothing', async () => {
    using first = await RawClient.attach(served.path)
    const before = openFds()
    {
      using second = RawClient.connect(served.path)
      await second.end()
    }
    assert.deepEqual(openFds(), before)
    await first.assertAlive()
  })

  test('answers VERSION of a second client with EBUSY, and ends its own sending only', async () => {
    using first = await RawClient.attach(served.path)
    using second = RawClient.connect(served.path)
    assertRefused(await second.request(VERSION, versionPayload('{}')), 'EBUSY')
    await second.end()
    // QEMU 11.1 can abort when a write of its meets a closed socket
    await second.send(message(GET_INFO, u32(16, 0, 0, 0)))
    await first.assertAlive()
  })

  test('has patience with sixteen refused clients, and closes a seventeenth at once', async () => {
    using first = await RawClient.attach(served.path)
    const others = Array.from({ length: 17 }, () => RawClient.connect(served.path))
    try {
      await others[16]?.end()
      assertRefused(await others[0]!.request(VERSION, versionPayload('{}')), 'EBUSY')
      await first.assertAlive()
    } finally {
      for (const other of others) other.close()
    }
  })

  test('ends the second client while the first has not said VERSION', async () => {
    using first = RawClient.connect(served.path)
    using second = RawClient.connect(served.path)
    await second.end()
    assertSuccess(await first.request(VERSION, versionPayload('{}')))
  })

  test('takes the next client when the first has left just now', async () => {
    for (let i = 0; i < 20; i++) {
      const first = await RawClient.attach(served.path)
      first.close()
      using second = await RawClient.attach(served.path)
      await second.assertAlive()
    }
  })

  test('takes a client after others that only looked whether anybody listens', async () => {
    for (let i = 0; i < 5; i++) RawClient.connect(served.path).close()
    using client = await RawClient.attach(served.path)
    await client.assertAlive()
  })

  test('takes the next client when the first has left in the midst of its requests', async () => {
    const first = await RawClient.attach(served.path)
    await first.send(Buffer.concat(Array.from({ length: 100 }, () => message(GET_INFO, u32(16)))))
    await first.send(message(GET_INFO, u32(16, 0, 0, 0)).subarray(0, 20))
    first.close()
    using second = await RawClient.attach(served.path)
    await second.assertAlive()
  })

  test('takes the next client when the first has left without reading its replies', async () => {
    const first = await RawClient.attach(served.path)
    const read = message(REGION_READ, access(2, 0, MIB))
    await first.send(Buffer.concat([read, read, read]))
    await first.received()
    first.close()
    using second = await RawClient.attach(served.path)
    await second.assertAlive()
  })

  test('tells of one attach and one detach a client, and resets the device between them', async () => {
    const told: string[] = []
    served.host.events.on('attach', ({ uuid }) => told.push(`attach ${uuid}`))
    served.host.events.on('detach', ({ uuid }) => told.push(`detach ${uuid}`))
    for (let i = 0; i < 2; i++) {
      using client = await RawClient.attach(served.path)
      await client.assertAlive()
      client.close()
      await served.idle()
    }
    const once = [`attach ${UUID}`, `detach ${UUID}`]
    assert.deepEqual(told, [...once, ...once])
    assert.deepEqual(device.resets, ['disconnect', 'disconnect'])
  })

  test('serves two mdevs of one parent at a time', async () => {
    const other = await served.host.create('test-1', OTHER_UUID)
    using one = await RawClient.attach(served.path)
    using two = await RawClient.attach(served.host.socketOf(other))
    await Promise.all(
      [one, two].map(async (client) => {
        for (let i = 0; i < 50; i++) await client.assertAlive()
      }),
    )
  })

  test('counts', async () => {
    using client = await RawClient.attach(served.path)
    assertSuccess(await client.request(REGION_READ, access(0, 0, 4)))
    assertSuccess(await client.request(REGION_READ, access(0, 0, 4)))
    assertSuccess(await client.request(REGION_WRITE, access(0, 0, 4, u32(0))))
    assertSuccess(await client.request(DMA_MAP, dmaMap()))
    assertRefused(await client.request(DMA_MAP, dmaMap({ iova: 1 })), 'EINVAL')
    assert.deepEqual(served.stats, {
      clients: 1,
      regionReads: 2,
      regionWrites: 1,
      dmaMaps: 1,
      dmaUnmaps: 0,
      resets: 0,
      refused: 1,
    })
  })
})

describe('an mdev that is removed', () => {
  test('is EBUSY while it has a client, who goes on', async () => {
    using client = await RawClient.attach(served.path)
    await assert.rejects(served.host.parent.remove(UUID), { code: 'EBUSY', errno: 16 })
    await client.assertAlive()
  })

  test('by force ends its client, and its socket is gone', async () => {
    using client = await RawClient.attach(served.path)
    await served.host.parent.remove(UUID, { force: true })
    await client.end()
    assert.throws(() => RawClient.connect(served.path), { code: 'ENOENT' })
    assert.deepEqual(device.resets, ['disconnect'])
  })

  test('with its parent ends its client', async () => {
    using client = await RawClient.attach(served.path)
    await served.host.parent.unregister({ force: true })
    await client.end()
  })

  test('and created anew takes clients again', async () => {
    using old = await RawClient.attach(served.path)
    await served.host.parent.remove(UUID, { force: true })
    await old.end()
    await served.host.create('test-1', UUID)
    using client = await RawClient.attach(served.path)
    await client.assertAlive()
  })

  test('closes what its client gave', async () => {
    using fds = new Fds()
    const eventfds = Array.from({ length: 8 }, () => fds.own(EventFd.create().fd))
    const before = openFds().filter((line) => /eventfd|memfd|socket/.test(line))
    {
      using client = await RawClient.attach(served.path)
      assertSuccess(await client.request(SET_IRQS, irqSet(0x24, 1, 0, 8), { fds: eventfds }))
      await served.host.parent.remove(UUID, { force: true })
      await client.end()
    }
    assert.deepEqual(
      openFds().filter((line) => /eventfd|memfd|socket/.test(line)),
      before.filter((line) => !line.includes(listenerOf(before))),
    )
  })

  /** The listening socket, the only one that goes besides the client's. */
  function listenerOf(before: readonly string[]): string {
    const now = new Set(openFds())
    return before.find((line) => line.includes('socket') && !now.has(line)) ?? 'no listener'
  }

  test('by a write to one of its own registers ends its client without an answer', async () => {
    using fds = new Fds()
    using scratch = new Scratch()
    const fd = fds.own(makeMemfd(0))
    const file = join(scratch.path, 'next')
    device.onWrite = () => {
      void served.host.parent.remove(UUID, { force: true })
      fds.own(openSync(file, 'w')) // takes the number that the connection had
      fds.own(openSync(file, 'w'))
    }
    using client = await RawClient.attach(served.path)
    const memfds = () => openFds().filter((line) => line.includes('/memfd:test')).length
    const write = message(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1)))
    const info = message(GET_INFO, u32(16, 0, 0, 0))
    // so that the fd is there, unclaimed, when the connection ends
    await client.send(Buffer.concat([write, info]))
    await client.send(message(DMA_MAP, dmaMap()), [fd])
    await client.end()
    assert.equal(statSync(file).size, 0, 'the reply went into another file')
    assert.equal(memfds(), 1)
  })
})

describe('an mdev that its own listener removes', () => {
  test('at attach, refuses the client and is gone', async () => {
    served.host.events.once('attach', () => void served.host.parent.remove(UUID, { force: true }))
    const gone = once(served.host.events, 'remove')
    using client = RawClient.connect(served.path)
    await client.end()
    await gone
  })
})
