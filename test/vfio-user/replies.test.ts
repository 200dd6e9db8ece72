/** Replies: which, how long, in which order, and when none (sections 2, 3, 4 and 4.1 of the reference). */
import assert from 'node:assert/strict'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { EventFd } from '../../src/os/eventfd.ts'
import { openFds } from '../support/fds.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  GET_INFO,
  GET_IRQ_INFO,
  GET_REGION_INFO,
  GET_REGION_IO_FDS,
  irqSet,
  message,
  NO_REPLY,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  REGION_WRITE_MULTI,
  RESET,
  SET_IRQS,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

let served: Served
let client: RawClient
before(async () => {
  ;({ served } = await serveTestDevice())
})
after(() => served[Symbol.dispose]())
beforeEach(async () => {
  client = await RawClient.attach(served.path)
})
afterEach(() => client.close())

const REGION_INFO = Buffer.concat([u32(32, 0, 0, 0), u64(0, 0)])

/** A request that succeeds, and the size of its reply, header included. */
const GOOD: readonly [name: string, command: number, payload: Buffer, size: number][] = [
  ['DMA_MAP', DMA_MAP, dmaMap(), 16],
  ['DMA_UNMAP', DMA_UNMAP, dmaUnmap({ flags: 2, size: 0 }), 16 + 24],
  ['GET_INFO', GET_INFO, u32(16, 0, 0, 0), 16 + 16],
  ['GET_REGION_INFO', GET_REGION_INFO, REGION_INFO, 16 + 32],
  ['GET_REGION_IO_FDS', GET_REGION_IO_FDS, u32(16, 0, 0, 0), 16 + 16],
  ['GET_IRQ_INFO', GET_IRQ_INFO, u32(16, 0, 0, 0), 16 + 16],
  ['SET_IRQS', SET_IRQS, irqSet(0x21, 0, 0, 0), 16],
  ['REGION_READ', REGION_READ, access(0, 0, 4), 16 + 16 + 4],
  ['REGION_WRITE', REGION_WRITE, access(0, 0, 4, Buffer.alloc(4)), 16 + 16],
  ['REGION_WRITE_MULTI', REGION_WRITE_MULTI, u64(0), 16 + 8],
  ['RESET', RESET, Buffer.alloc(0), 16],
]

/** A request of each command that fails, and commands that we do not have. */
const BAD: readonly [name: string, command: number, payload: Buffer][] = [
  ['a second VERSION', VERSION, versionPayload('{}')],
  ['DMA_MAP', DMA_MAP, dmaMap({ size: 1 })],
  ['DMA_UNMAP', DMA_UNMAP, dmaUnmap({ iova: 0x7001 })],
  ['GET_INFO', GET_INFO, u32(0, 0, 0, 0)],
  ['GET_REGION_INFO', GET_REGION_INFO, u32(0)],
  ['GET_IRQ_INFO', GET_IRQ_INFO, u32(16, 0, 99, 0)],
  ['SET_IRQS', SET_IRQS, irqSet(0, 0, 0, 0)],
  ['REGION_READ', REGION_READ, access(99, 0, 4)],
  ['REGION_WRITE', REGION_WRITE, access(0, 0, 4)],
  ['REGION_WRITE_MULTI', REGION_WRITE_MULTI, u64(7)],
  ['RESET', RESET, Buffer.alloc(3)],
  ['command 0', 0, Buffer.alloc(0)],
  ['GET_REGION_IO_FDS', GET_REGION_IO_FDS, u32(16, 0, 99, 0)],
  ['DMA_READ, which is ours to send', 11, u64(0, 4)],
  ['DMA_WRITE, which is ours to send', 12, u64(0, 0)],
  ['the obsolete dirty pages', 14, Buffer.alloc(16)],
  ['DEVICE_FEATURE', 16, u32(16, 0x10001, 0, 0)],
  ['MIG_DATA_READ', 17, u32(16, 8)],
  ['MIG_DATA_WRITE', 18, u32(8, 0)],
  ['command 19', 19, Buffer.alloc(0)],
  ['command 0xffff', 0xffff, Buffer.alloc(0)],
]

describe('a reply', () => {
  for (const [name, command, payload, size] of GOOD) {
    test(`to ${name} has ${size} bytes`, async () => {
      const reply = await client.request(command, payload)
      assertSuccess(reply)
      assert.equal(reply.size, size)
    })

    test(`to ${name} with No_reply never comes`, async () => {
      await client.send(message(command, payload, { flags: NO_REPLY }))
      await client.assertAlive()
    })

    test(`to ${name} comes although unknown flags, Error and an errno are set`, async () => {
      assertSuccess(
        await client.request(command, payload, { flags: 0xffffffe0, error: 0xffffffff }),
      )
    })

    for (const type of [2, 7, 15]) {
      test(`to ${name} as a message of type ${type} is EINVAL`, async () => {
        assertRefused(await client.request(command, payload, { flags: type }), 'EINVAL')
        await client.assertAlive()
      })
    }

    test(`to ${name} as a reply never comes: it answers nothing that we asked`, async () => {
      await client.send(message(command, payload, { flags: 1 }))
      await client.send(message(command, payload, { flags: 0x21 }))
      await client.assertAlive()
    })
  }

  for (const [name, command, payload] of BAD) {
    test(`to ${name} that fails is a header alone`, async () => {
      const { error, ...reply } = await client.request(command, payload)
      assert.deepEqual([reply.size, reply.flags], [16, 0x21])
      assert.ok(error > 0)
      await client.assertAlive()
    })

    test(`to ${name} that fails never comes with No_reply`, async () => {
      await client.send(message(command, payload, { flags: NO_REPLY }))
      await client.assertAlive()
    })
  }

  for (const [name, command, payload] of BAD.slice(11)) {
    test(`to ${name} is EINVAL`, async () => {
      assertRefused(await client.request(command, payload), 'EINVAL')
    })
  }

  test('echoes whatever id it gets, also the same again', async () => {
    const ids = [0, 0, 0xffff, 0x8000, 1, 1]
    await client.send(Buffer.concat(ids.map((id) => message(GET_INFO, u32(16, 0, 0, 0), { id }))))
    for (const id of ids) assert.equal((await client.reply()).id, id)
  })

  test('comes in the order of the requests, whatever they are', async () => {
    const requests = Array.from({ length: 40 }, (_, round) =>
      [...GOOD, ...BAD].map(([, command, payload]) => ({ command, payload, round })),
    ).flat()
    await client.send(
      Buffer.concat(requests.map(({ command, payload }, id) => message(command, payload, { id }))),
    )
    for (const [id, { command }] of requests.entries()) {
      const reply = await client.reply()
      assert.deepEqual([reply.id, reply.command], [id, command])
    }
  })

  test('to a request with an fd that it must not have is EINVAL, and the fd is closed', async () => {
    using eventfd = EventFd.create()
    const before = openFds()
    for (const [, command, payload] of GOOD) {
      if ([DMA_MAP, DMA_UNMAP, SET_IRQS].includes(command)) continue
      const reply = await client.request(command, payload, { fds: [eventfd.fd] })
      assertRefused(reply, 'EINVAL')
    }
    for (const [, command, payload] of BAD) {
      await client.request(command, payload, { fds: [eventfd.fd, eventfd.fd] })
    }
    assert.deepEqual(openFds(), before)
    await client.assertAlive()
  })

  test('that the client sends, with fds, closes them', async () => {
    using eventfd = EventFd.create()
    const before = openFds()
    await client.send(message(11, u64(0, 0), { flags: 1 }), [eventfd.fd, eventfd.fd])
    await client.send(message(SET_IRQS, irqSet(0x24, 0, 0, 1), { flags: 2 }), [eventfd.fd])
    await client.reply()
    assert.deepEqual(openFds(), before)
    await client.assertAlive()
  })

  test('that never comes closes the fds of its request all the same', async () => {
    using eventfd = EventFd.create()
    const before = openFds()
    await client.send(message(GET_INFO, u32(16, 0, 0, 0), { flags: NO_REPLY }), [eventfd.fd])
    await client.send(message(SET_IRQS, irqSet(0, 0, 0, 1), { flags: NO_REPLY }), [eventfd.fd])
    await client.assertAlive()
    assert.deepEqual(openFds(), before)
  })
})
