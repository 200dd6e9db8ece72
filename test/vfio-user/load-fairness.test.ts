/** A client that floods does not keep another waiting: counted in what is done for the one between two requests of the other. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { EPOLLOUT, reactor, type Watch } from '../../src/os/reactor.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { Fds } from '../support/fds.ts'
import { REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertSuccess,
  DMA_MAP,
  dmaMap,
  message,
  NO_REPLY,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  RESET,
  u32,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const MIB = 2 ** 20
/** Messages that one client may have done before the others get their turn; larger ones count for more. */
const SHARE = 64
const POLITE_REQUESTS = 100

interface Flood {
  readonly message: Buffer
  /** How often it is repeated, to be sent in one piece. */
  readonly times: number
  /** How many of them are one share. */
  readonly share: number
}

const FLOODS: Readonly<Record<string, Flood>> = {
  'posted writes': {
    message: message(REGION_WRITE, access(0, 0, 4, u32(1)), { flags: NO_REPLY }),
    times: 5000,
    share: SHARE,
  },
  'reads without a reply': {
    message: message(REGION_READ, access(0, 0, 4), { flags: NO_REPLY }),
    times: 5000,
    share: SHARE,
  },
  'resets without a reply': {
    message: message(RESET, undefined, { flags: NO_REPLY }),
    times: 5000,
    share: SHARE,
  },
  'refused requests without a reply': {
    message: message(99, undefined, { flags: NO_REPLY }),
    times: 5000,
    share: SHARE,
  },
  'reads of 64 KiB without a reply': {
    message: message(REGION_READ, access(2, 0, MIB / 16), { flags: NO_REPLY }),
    times: 1000,
    share: 1,
  },
  'posted writes of 1 MiB': {
    message: message(REGION_WRITE, access(2, 0, MIB, Buffer.alloc(MIB)), { flags: NO_REPLY }),
    times: 1,
    share: 1,
  },
}

let served: Served
let device: TestDevice
let other: string
beforeEach(async () => {
  ;({ served, device } = await serveTestDevice())
  other = await serveAnother(1)
})
afterEach(() => served[Symbol.dispose]())

/** @returns the socket of one more mdev of the same parent, whose registers are the same to the test */
async function serveAnother(digit: number): Promise<string> {
  const mdev = await served.host.create('test-1', `1111111${digit}-2222-4333-8444-555555555555`)
  return served.host.socketOf(mdev)
}

/** Sends `bytes` again and again, as fast as they are taken. The watch ends it. */
function flood(client: RawClient, bytes: Buffer): Watch {
  let at = 0
  return reactor().watch(client.fd, EPOLLOUT, () => {
    at = (at + client.sendNow(bytes.subarray(at))) % bytes.length
  })
}

/** What has been done at the socket of the flooded device: messages that ran or were refused. */
function done(): number {
  const { regionReads, regionWrites, resets, refused } = served.stats
  return regionReads + regionWrites + resets + refused
}

/** How much is done for the flooding client while `polite` waits: the most for any of its requests. */
async function longestWait(polite: RawClient): Promise<number> {
  let longest = 0
  let asked = 0
  device.onWrite = () => {
    longest = Math.max(longest, done() - asked)
  }
  for (let i = 0; i < POLITE_REQUESTS; i++) {
    asked = done()
    assertSuccess(await polite.request(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1))))
    device.log.length = 0
    device.resets.length = 0
  }
  return longest
}

describe('a client that asks now and then waits for no more than a share or two', () => {
  for (const [name, { message: bytes, times, share }] of Object.entries(FLOODS)) {
    test(`of ${name}`, async () => {
      using flooding = await RawClient.attach(served.path)
      using polite = await RawClient.attach(other)
      const watch = flood(flooding, Buffer.concat(Array.from({ length: times }, () => bytes)))
      try {
        const longest = await longestWait(polite)
        assert.ok(longest <= 2 * share, `${longest} messages before its own`)
      } finally {
        watch.close()
      }
    })
  }

  test('of each, when several flood', async () => {
    const { message: bytes, times } = FLOODS['posted writes']!
    const all = Buffer.concat(Array.from({ length: times }, () => bytes))
    const paths = [served.path, await serveAnother(2), await serveAnother(3)]
    const clients = await Promise.all(paths.map((path) => RawClient.attach(path)))
    using polite = await RawClient.attach(other)
    const watches = clients.map((client) => flood(client, all))
    let longest = 0
    device.onWrite = () => {
      longest = Math.max(longest, device.log.length) // what reached the registers of any since it was asked
    }
    try {
      for (let i = 0; i < POLITE_REQUESTS; i++) {
        device.log.length = 0
        assertSuccess(await polite.request(REGION_WRITE, access(0, REGISTER.hook, 4, u32(1))))
      }
    } finally {
      for (const watch of watches) watch.close()
      for (const client of clients) client.close()
    }
    assert.ok(longest <= 2 * clients.length * SHARE, `${longest} messages before its own`)
  })
})

describe('a client whose messages are more than its share', () => {
  test('has them all done, in order, with the fd that belongs to one of them', async () => {
    using fds = new Fds()
    using client = await RawClient.attach(other)
    const writes = Array.from({ length: 200 }, (_, i) =>
      message(REGION_WRITE, access(0, i, 1, Uint8Array.of(i)), { id: i }),
    )
    const memory = fds.own(createMemfd('test', 0x1000))
    const map = message(DMA_MAP, dmaMap(), { id: 200 })
    device.log.length = 0
    await client.send(Buffer.concat(writes))
    await client.send(map, [memory]) // what is received with it is kept with it, several times
    await client.send(message(REGION_READ, access(0, 199, 1), { id: 201 }))
    for (let id = 0; id <= 201; id++) {
      const reply = await client.reply()
      assertSuccess(reply)
      assert.equal(reply.id, id)
    }
    assert.deepEqual(
      device.log.map(([, , offset]) => offset),
      [...writes.keys(), 199],
    )
  })

  test('may leave: they are done, and the next client is let in at once', async () => {
    const client = await RawClient.attach(other)
    const write = message(REGION_WRITE, access(0, 0, 4, u32(1)), { flags: NO_REPLY })
    const many = Buffer.concat(Array.from({ length: 5000 }, () => write))
    device.log.length = 0
    const sent = client.sendNow(many)
    client.close()
    using next = await RawClient.attach(other)
    await next.assertAlive()
    assert.equal(device.log.length, Math.floor(sent / write.length))
  })
})
