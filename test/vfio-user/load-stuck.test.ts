/** Clients that stop halfway keep nobody else waiting, and the memory held for each is bounded (section 19 of the reference). */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { EventFd } from '../../src/os/eventfd.ts'
import { Fds, openFds } from '../support/fds.ts'
import { heldBuffers } from '../support/garbage.ts'
import type { TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertSuccess,
  irqSet,
  message,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  SET_IRQS,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const MIB = 2 ** 20
/** Most that is held for one client: a message that has not come whole, and replies that were not read. */
const MOST_HELD = 2.25 * MIB
const STUCK = 20

let served: Served
let device: TestDevice
let paths: string[]
let other: string
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  const sockets = await Promise.all(
    Array.from({ length: STUCK + 1 }, async (_, i) => {
      const uuid = `000000${String(i).padStart(2, '0')}-2222-4333-8444-555555555555`
      return served.host.socketOf(await served.host.create('test-1', uuid))
    }),
  )
  other = sockets[0]!
  paths = sockets.slice(1)
})
afterEach(() => served[Symbol.dispose]())

/** Ways to stop halfway: what is sent, after which nothing is sent and nothing read. */
const WAYS: Readonly<Record<string, (client: RawClient) => Promise<void>>> = {
  'in the midst of a large message': async (client) => {
    const write = message(REGION_WRITE, access(2, 0, MIB, Buffer.alloc(MIB)))
    await client.send(write.subarray(0, write.length - 1))
  },
  'after the header of a large message': async (client) => {
    await client.send(message(REGION_WRITE, access(2, 0, MIB), { size: 32 + MIB }))
  },
  'in the midst of a header': async (client) => {
    await client.send(message(REGION_READ, access(0, 0, 4)).subarray(0, 7))
  },
  'and reads no replies': async (client) => {
    const requests = Array.from({ length: 8 }, () => message(REGION_READ, access(2, 0, MIB)))
    await client.send(Buffer.concat(requests))
  },
  'and reads no replies, small ones': async (client) => {
    const requests = Array.from({ length: 2000 }, () => message(REGION_READ, access(2, 0, 4096)))
    await client.send(Buffer.concat(requests))
  },
}

describe(`${STUCK} clients that stop`, () => {
  for (const [name, stop] of Object.entries(WAYS)) {
    test(`${name} hold a bounded amount of memory, and another is served`, async () => {
      using polite = await RawClient.attach(other)
      const clients = await Promise.all(paths.map((path) => RawClient.attach(path)))
      const before = await heldBuffers()
      for (const client of clients) {
        await stop(client)
        await polite.assertAlive()
      }
      for (let i = 0; i < 100; i++) await polite.assertAlive()
      const held = ((await heldBuffers()) - before) / STUCK
      assert.ok(held <= MOST_HELD, `${(held / MIB).toFixed(2)} MiB each`)
      for (const client of clients) client.close()
    })
  }
})

describe('a client that stops', () => {
  test('in the midst of SET_IRQS with 16 fds, and leaves, has them all closed', async () => {
    using fds = new Fds()
    const eventfds = Array.from({ length: 16 }, () => fds.own(EventFd.create().fd))
    const before = openFds().length
    const client = await RawClient.attach(served.path)
    await client.send(message(SET_IRQS, irqSet(0x24, 2, 0, 16)).subarray(0, 30), eventfds)
    await client.received()
    assert.equal(openFds().length, before + 2 + 16) // both ends of the connection
    using polite = await RawClient.attach(other)
    await polite.assertAlive()
    polite.close()
    client.close()
    await served.idle()
    using next = await RawClient.attach(other)
    await next.assertAlive()
    assert.equal(openFds().length, before + 2)
  })

  test('to read replies has its interrupts signalled all the same', async () => {
    using fds = new Fds()
    const eventfd = EventFd.create()
    fds.own(eventfd.fd)
    // the last that was made is the one that the test's vectors belong to
    using client = await RawClient.attach(paths.at(-1)!)
    assertSuccess(await client.request(SET_IRQS, irqSet(0x24, 1, 0, 1), { fds: [eventfd.fd] }))
    await WAYS['and reads no replies']!(client)
    using polite = await RawClient.attach(other)
    await polite.assertAlive()
    assert.equal(eventfd.drain(), false)
    const before = await heldBuffers()
    for (let i = 0; i < 100_000; i++) device.msi[0]!.trigger()
    assert.equal(eventfd.drain(), true)
    assert.ok((await heldBuffers()) - before < MIB)
    await polite.assertAlive()
  })
})
