/** Frames: messages in pieces and glued together, of every size, with and without fds (sections 2 and 3 of the reference). */
import assert from 'node:assert/strict'
import { closeSync, ftruncateSync, writeSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { EventFd } from '../../src/os/eventfd.ts'
import { Fds, makeMemfd, MFD_ALLOW_SEALING, openFds } from '../support/fds.ts'
import { withoutFreeFds } from '../support/free-fds.ts'
import { BIG_SIZE, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  GET_INFO,
  hex,
  irqSet,
  message,
  NO_REPLY,
  QEMU_JSON,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  SET_IRQS,
  u16,
  u32,
  u64,
  VERSION,
  versionPayload,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'
import { until } from '../support/until.ts'

const MIB = 1048576
/** Section 3: the header, the data of one transfer, and 64 bytes for the largest fixed payload. */
const MAX_MESSAGE = 16 + MIB + 64

let served: Served
let device: TestDevice
let client: RawClient
let fds: Fds
before(async () => {
  ;({ served, device } = await serveTestDevice())
})
after(() => served[Symbol.dispose]())
beforeEach(async () => {
  fds = new Fds()
  client = await RawClient.attach(served.path)
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // Bus Master Enable
})
afterEach(async () => {
  client.close()
  await served.idle()
  fds[Symbol.dispose]()
})

const INFO = message(GET_INFO, u32(16, 0, 0, 0), { id: 0x1234 })
const INFO_REPLY = '3412040020000000010000000000000010000000030000000900000005000000'

/** A memfd of two pages that begins with `text`. */
function memfd(text: string): number {
  const fd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(fd, 0x2000)
  writeSync(fd, text)
  return fd
}

function deviceReads(iova: number, length: number): string {
  const bytes = new Uint8Array(length)
  assert.equal(device.dma.read(iova, bytes), undefined)
  return Buffer.from(bytes).toString()
}

/** What is mapped at `iova` came without an fd. */
function assertHasNoFile(iova: number): void {
  assert.throws(() => device.dma.view(iova, 1), { code: /^(EFAULT|EOPNOTSUPP)$/ })
}

/** Sends `bytes` cut at `at`, and lets the server have each part by itself. */
async function sendCut(bytes: Buffer, at: number, given: readonly number[] = []): Promise<void> {
  await client.send(bytes.subarray(0, at), given)
  await client.received()
  await client.send(bytes.subarray(at))
}

describe('frames, as literal bytes', () => {
  for (const [title, request, reply] of [
    [
      'GET_INFO',
      '0300040020000000000000000000000010000000000000000000000000000000',
      INFO_REPLY.replace('3412', '0300'),
    ],
    [
      'REGION_READ of the ids',
      '0c0009002000000000000000000000000000000000000000 0700000004000000',
      '0c0009002400000001000000000000000000000000000000 0700000004000000 361b11be',
    ],
    ['RESET', '1e000d00100000000000000000000000', '1e000d00100000000100000000000000'],
    [
      'an unknown command',
      '2a00640010000000 00000000 00000000',
      '2a006400100000002100000016000000',
    ],
    [
      'a posted REGION_WRITE, then GET_INFO',
      `bf000a0024000000100000000000000040000000000000000000000004000000efbeadde
       0300040020000000000000000000000010000000000000000000000000000000`,
      INFO_REPLY.replace('3412', '0300'),
    ],
  ] as const) {
    test(title, async () => {
      await client.send(hex(request))
      const expected = hex(reply)
      assert.equal(
        (await client.receive(expected.length)).toString('hex'),
        expected.toString('hex'),
      )
      await client.assertAlive()
    })
  }
})

describe('frames in pieces', () => {
  test('GET_INFO, cut at every byte', async () => {
    for (let at = 1; at < INFO.length; at++) {
      await sendCut(INFO, at)
      assert.equal((await client.receive(32)).toString('hex'), INFO_REPLY, `cut at ${at}`)
    }
  })

  test('VERSION, cut at every byte', async () => {
    const version = message(VERSION, versionPayload(QEMU_JSON))
    assert.equal(version.length, 214)
    for (let at = 1; at < version.length; at++) {
      client.close()
      client = RawClient.connect(served.path)
      await sendCut(version, at)
      assertSuccess(await client.reply())
    }
    await client.assertAlive()
  })

  test('DMA_MAP with an fd, cut at every byte', async () => {
    const request = message(DMA_MAP, dmaMap())
    const before = openFds().length
    for (let at = 1; at < request.length; at++) {
      const fd = memfd(`cut at ${at} `)
      await sendCut(request, at, [fd])
      assertSuccess(await client.reply())
      assert.equal(deviceReads(0, 9).trim(), `cut at ${at}`)
      assertSuccess(await client.request(DMA_UNMAP, dmaUnmap()))
      closeSync(fd)
    }
    assert.equal(openFds().length, before)
  })

  test('a write of 300 bytes, byte by byte', async () => {
    const data = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
    const request = message(REGION_WRITE, access(0, 0, 256, data))
    for (const byte of request) {
      await client.send(Buffer.of(byte))
      await client.received()
    }
    assertSuccess(await client.reply())
    assert.deepEqual(device.scratch, data)
  })

  test('two messages, cut at every byte of both', async () => {
    const both = Buffer.concat([INFO, message(REGION_READ, access(7, 0, 2), { id: 9 })])
    for (let at = 1; at < both.length; at++) {
      await sendCut(both, at)
      assert.equal((await client.receive(32)).toString('hex'), INFO_REPLY, `cut at ${at}`)
      assert.deepEqual((await client.reply()).payload.subarray(16), u16(0x1b36))
    }
  })

  for (const step of [1000, 16 * 1024 - 16, 16 * 1024, 16 * 1024 + 1, 300_000]) {
    test(`1 MiB written and read back, in pieces of ${step} bytes`, async () => {
      const data = Buffer.alloc(MIB, `pieces of ${step}.`)
      const request = message(REGION_WRITE, access(2, 0, MIB, data), { id: 5 })
      for (let at = 0; at < request.length; at += step) {
        await client.send(request.subarray(at, at + step))
        await client.received()
      }
      const written = await client.reply()
      assertSuccess(written)
      assert.equal(written.size, 32)
      const read = await client.request(REGION_READ, access(2, 0, MIB))
      assertSuccess(read)
      assert.ok(read.payload.subarray(16).equals(data))
    })
  }

  test('what is left of a message at the end of the stream is dropped', async () => {
    for (const at of [1, 15, 16, 17, 47]) {
      const before = openFds().length
      const fd = memfd('x')
      await client.send(message(DMA_MAP, dmaMap()).subarray(0, at), [fd])
      client.close()
      await served.idle()
      closeSync(fd)
      assert.equal(openFds().length, before - 2, `${at} bytes`)
      client = await RawClient.attach(served.path)
    }
    await client.send(message(REGION_WRITE, access(2, 0, MIB, Buffer.alloc(MIB))).subarray(0, MIB))
    client.close()
    await served.idle()
    client = await RawClient.attach(served.path)
    await client.assertAlive()
  })
})

describe('frames glued together', () => {
  test('1000 requests in one write are answered in order', async () => {
    const count = 1000
    const requests = Array.from({ length: count }, (_, id) =>
      id % 2 === 0
        ? message(GET_INFO, u32(16, 0, 0, 0), { id })
        : message(REGION_WRITE, access(0, 0x10, 4, u32(id)), { id }),
    )
    await client.send(Buffer.concat(requests))
    for (let id = 0; id < count; id++) {
      const reply = await client.reply()
      assertSuccess(reply)
      assert.equal(reply.id, id)
    }
    assert.deepEqual(device.scratch.subarray(0x10, 0x14), u32(999))
  })

  test('messages of all lengths, with bounds wherever they fall', async () => {
    const lengths = Array.from({ length: 500 }, (_, i) => (i * 37) % 257)
    await client.send(
      Buffer.concat(
        lengths.map((length, id) =>
          message(REGION_WRITE, access(0, 0, length, Buffer.alloc(length, id)), { id }),
        ),
      ),
    )
    for (const [id, length] of lengths.entries()) {
      const reply = await client.reply()
      assert.equal(reply.id, id)
      if (length <= 256) assertSuccess(reply)
      else assertRefused(reply, 'EINVAL')
    }
  })

  test('replies of 1 MiB each, more than the socket holds, all arrive', async () => {
    device.big.fill(0x5a)
    const count = 8
    const requests = Array.from({ length: count }, (_, id) =>
      message(REGION_READ, access(2, BIG_SIZE - MIB, MIB), { id }),
    )
    await client.send(Buffer.concat([...requests, INFO]))
    for (let id = 0; id < count; id++) {
      const reply = await client.reply()
      assert.equal(reply.id, id)
      assert.ok(reply.payload.subarray(16).equals(device.big.subarray(0, MIB)))
    }
    assert.equal((await client.receive(32)).toString('hex'), INFO_REPLY)
  })
})

describe('the size of a frame', () => {
  for (const size of [0, 1, 15, MAX_MESSAGE + 1, 2 ** 31, 2 ** 32 - 1]) {
    test(`of ${size} ends the connection; what came before is answered`, async () => {
      await client.send(Buffer.concat([INFO, message(GET_INFO, u32(16, 0, 0, 0), { size })]))
      assert.equal((await client.receive(32)).toString('hex'), INFO_REPLY)
      await client.end()
      client = await RawClient.attach(served.path)
      await client.assertAlive()
    })
  }

  test(`of ${MAX_MESSAGE} is the largest that is read`, async () => {
    const payload = Buffer.concat([access(0, 0, 4), Buffer.alloc(MAX_MESSAGE - 32)])
    assertRefused(await client.request(REGION_WRITE, payload), 'EINVAL')
    await client.assertAlive()
  })

  test('of 16 is a header alone', async () => {
    assertRefused(await client.request(GET_INFO), 'EINVAL')
    await client.assertAlive()
  })
})

describe('fds of frames', () => {
  test('go with the message whose first byte they came with, in a pipeline', async () => {
    const first = memfd('first')
    const second = memfd('second')
    await client.send(INFO)
    await client.send(message(DMA_MAP, dmaMap({ iova: 0x1000 }), { id: 1 }), [first])
    await client.send(INFO)
    await client.send(message(DMA_MAP, dmaMap({ iova: 0x2000 }), { id: 2 }))
    await client.send(message(DMA_MAP, dmaMap({ iova: 0x3000 }), { id: 3 }), [second])
    await client.send(INFO)
    for (let i = 0; i < 6; i++) assertSuccess(await client.reply())
    assert.equal(deviceReads(0x1000, 5), 'first')
    assertHasNoFile(0x2000)
    assert.equal(deviceReads(0x3000, 6), 'second')
  })

  test('go with their message when others are glued before it', async () => {
    const fd = memfd('glued')
    const head = Buffer.concat(Array.from({ length: 100 }, () => INFO))
    await client.send(head)
    await client.send(message(DMA_MAP, dmaMap()), [fd])
    for (let i = 0; i < 101; i++) assertSuccess(await client.reply())
    assert.equal(deviceReads(0, 5), 'glued')
  })

  test('in the middle of a message are closed, and the message has none', async () => {
    const fd = memfd('stray')
    const before = openFds()
    const request = message(DMA_MAP, dmaMap())
    for (const at of [1, 15, 16, 40]) {
      await client.send(request.subarray(0, at))
      await client.received()
      await client.send(request.subarray(at), [fd])
      assertSuccess(await client.reply())
      assertHasNoFile(0)
      assert.deepEqual(openFds(), before)
      assertSuccess(await client.request(DMA_UNMAP, dmaUnmap()))
    }
  })

  test('in the middle of a large message are closed', async () => {
    const fd = memfd('stray')
    const before = openFds()
    const request = message(REGION_WRITE, access(2, 0, MIB, Buffer.alloc(MIB)))
    await client.send(request.subarray(0, 100_000))
    await client.received()
    await client.send(request.subarray(100_000, 200_000), [fd])
    await client.received()
    await client.send(request.subarray(200_000), [fd, fd])
    assertSuccess(await client.reply())
    assert.deepEqual(openFds(), before)
  })

  test('with the first byte of a large message that allows none are closed with EINVAL', async () => {
    const fd = memfd('large')
    const before = openFds()
    const write = access(2, 0, MIB, Buffer.alloc(MIB))
    assertRefused(await client.request(REGION_WRITE, write, { fds: [fd, fd] }), 'EINVAL')
    assert.deepEqual(openFds(), before)
    await client.assertAlive()
  })

  test('of a large message whose rest never comes are closed', async () => {
    const fd = memfd('large')
    await client.send(
      message(REGION_WRITE, access(2, 0, MIB, Buffer.alloc(MIB))).subarray(0, 100_000),
      [fd, fd],
    )
    await client.received()
    const before = openFds().length
    client.close()
    await served.idle()
    assert.equal(openFds().length, before - 4)
  })

  test('with two messages in one sendmsg, which no client sends, do not leak', async () => {
    const fd = memfd('two')
    const before = openFds()
    await client.send(Buffer.concat([INFO, INFO]), [fd])
    await client.reply()
    await client.reply()
    assert.deepEqual(openFds(), before)
    await client.assertAlive()
  })

  test('16 in one message', async () => {
    const eventfds = Array.from({ length: 16 }, () => fds.own(EventFd.create().fd))
    const before = openFds().length
    const request = irqSet(0x24, 2, 0, 16)
    assertSuccess(await client.request(SET_IRQS, request, { fds: eventfds }))
    assert.equal(openFds().length, before + 16)
    assertSuccess(await client.request(SET_IRQS, irqSet(0x21, 2, 0, 0)))
    assert.equal(openFds().length, before)
  })

  for (const count of [17, 100, 253]) {
    test(`${count} in one message are all closed, with EINVAL`, async () => {
      const fd = fds.own(EventFd.create().fd)
      const before = openFds()
      const many = Array.from({ length: count }, () => fd)
      const reply = await client.request(SET_IRQS, irqSet(0x24, 2, 0, count), { fds: many })
      assertRefused(reply, 'EINVAL')
      assert.deepEqual(openFds(), before)
      await client.assertAlive()
    })
  }

  test('of broken frames are closed', async () => {
    const fd = memfd('broken')
    const before = openFds().length
    await client.send(message(DMA_MAP, dmaMap(), { size: 5 }), [fd])
    await client.end()
    await served.idle()
    assert.equal(openFds().length, before - 1, 'the socket of the server is gone, and no fd came')
  })

  test('that are not taken because a reply waits are closed with the connection', async () => {
    const fd = memfd('waiting')
    const read = message(REGION_READ, access(2, 0, MIB))
    await client.send(Buffer.concat([read, INFO]))
    await client.send(message(DMA_MAP, dmaMap()), [fd])
    await client.received()
    const before = openFds().length
    client.close()
    await served.idle()
    assert.ok(openFds().length <= before - 2)
    assert.equal(openFds().filter((line) => line.includes('/memfd:test')).length, 1)
  })

  test('that are not taken because a reply waits are taken later', async () => {
    const fd = memfd('later')
    await client.send(Buffer.concat([message(REGION_READ, access(2, 0, MIB)), INFO]))
    await client.send(message(DMA_MAP, dmaMap()), [fd])
    await client.received()
    for (let i = 0; i < 3; i++) assertSuccess(await client.reply())
    assert.equal(deviceReads(0, 5), 'later')
  })
})

describe('without free fd numbers', () => {
  test('fds that are lost on the way end the connection', async () => {
    const fd = memfd('lost')
    await withoutFreeFds(async () => {
      await client.send(message(DMA_MAP, dmaMap(), { flags: NO_REPLY }), [fd])
      await client.end()
    })
    client = await RawClient.attach(served.path)
    await client.assertAlive()
  })

  test('messages without fds are served as ever', async () => {
    await withoutFreeFds(async () => {
      await client.assertAlive()
      assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0x1000 })))
      assertSuccess(await client.request(REGION_WRITE, access(0, 0, 8, u64(1))))
    })
  })

  test('a client that cannot be accepted is served when there are some', async () => {
    client.close()
    await served.idle()
    client = RawClient.connect(served.path)
    await withoutFreeFds(async () => {
      const isSaid = () => served.lines.some((line) => line.includes('accept on fd'))
      await until(isSaid, 'a line about accept', { pauseMs: 0 })
    })
    assertSuccess(await client.request(VERSION, versionPayload(QEMU_JSON)))
    await client.assertAlive()
  })
})
