/** The log of dirty pages, and the bitmap of DMA_UNMAP: sections 6.2, 14.1 and 19 of the reference. */
import assert from 'node:assert/strict'
import { ftruncateSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { Client } from '../../src/vfio-user/client.ts'
import { Fds, makeMemfd, MFD_ALLOW_SEALING, openFds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import { type MigratableDevice, serveMigratable } from '../support/vfio-user-migratable.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DEVICE_FEATURE,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  type Errno,
  feature,
  GET,
  message,
  NO_REPLY,
  QEMU_JSON,
  RawClient,
  type RawReply,
  REGION_WRITE,
  SET,
  u16,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import type { Served } from '../support/vfio-user-served.ts'

const PAGE = 4096
const GiB = 2 ** 30
const START = 6
const STOP = 7
const REPORT = 8
const BITMAP = 1

let served: Served
let device: MigratableDevice
let client: RawClient
let fds: Fds
before(async () => {
  ;({ served, device } = await serveMigratable())
})
after(() => served[Symbol.dispose]())

/** 100 pages at 0x100000, and one without an fd at 0x200000. */
const RAM = { iova: 0x100000, size: 100 * PAGE }
const REMOTE = { iova: 0x200000, size: PAGE }
beforeEach(async () => {
  fds = new Fds()
  await attach()
})
afterEach(async () => {
  client.close()
  await served.idle()
  fds[Symbol.dispose]()
})

async function attach(json = QEMU_JSON): Promise<void> {
  client = await RawClient.attach(served.path, json)
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // Bus Master Enable
  await map(RAM)
  assertSuccess(await client.request(DMA_MAP, dmaMap(REMOTE)))
}

async function map({ iova, size }: { iova: number; size: number }): Promise<void> {
  const fd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(fd, size)
  assertSuccess(await client.request(DMA_MAP, dmaMap({ iova, size }), { fds: [fd] }))
}

function start(pageSize = PAGE, ranges: readonly (readonly [number, number])[] = []): Buffer {
  const each = ranges.map((range) => u64(...range))
  return feature(SET | START, Buffer.concat([u64(pageSize), u32(ranges.length, 0), ...each]))
}

/** Bytes of a bitmap: ceil(pages / 64) * 8. */
function bitmapBytes(size: number, pageSize = PAGE): number {
  return Math.ceil(Math.ceil(size / pageSize) / 64) * 8
}

function report(
  iova: number,
  size: number,
  pageSize = PAGE,
  argsz = 8 + 24 + bitmapBytes(size, pageSize),
): Buffer {
  return feature(GET | REPORT, u64(iova, size, pageSize), argsz)
}

function unmap(
  { iova, size }: { iova: number; size: number },
  pageSize = PAGE,
  bitmap = bitmapBytes(size, pageSize),
  argsz = 24 + 16 + bitmap,
  flags = BITMAP,
): Buffer {
  return Buffer.concat([dmaUnmap({ argsz, flags, iova, size }), u64(pageSize, bitmap)])
}

function ask(payload: Uint8Array): Promise<RawReply> {
  return client.request(DEVICE_FEATURE, payload)
}

async function on(...args: Parameters<typeof start>): Promise<void> {
  assertSuccess(await ask(start(...args)))
}

function bitsOf(bitmap: Uint8Array): number[] {
  return [...bitmap].flatMap((byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => 8 * at + bit),
  )
}

/** Pages that the report of all RAM has. */
async function dirty(pageSize = PAGE): Promise<number[]> {
  const request = report(RAM.iova, RAM.size, pageSize)
  const reply = await ask(request)
  assertSuccess(reply)
  const length = 8 + 24 + bitmapBytes(RAM.size, pageSize)
  assert.equal(reply.payload.length, length)
  assert.deepEqual(reply.payload.subarray(0, 8), u32(length, GET | REPORT))
  assert.deepEqual(reply.payload.subarray(8, 32), u64(RAM.iova, RAM.size, pageSize))
  return bitsOf(reply.payload.subarray(32))
}

function write(page: number, length = 1): void {
  assert.equal(device.dma.write(RAM.iova + page * PAGE, Buffer.alloc(length, 7)), undefined)
}

describe('DMA_LOGGING_START', () => {
  test('repeats the request', async () => {
    const request = start(PAGE, [
      [0x100000, 0x4000],
      [0x110000, 0x1000],
    ])
    const reply = await ask(request)
    assertSuccess(reply)
    assert.deepEqual(reply.payload.subarray(8), request.subarray(8))
    assert.deepEqual(reply.payload.subarray(0, 8), u32(8 + 16 + 32, SET | START))
  })

  for (const asked of [1, 512, PAGE, 65536, 2 ** 21, 2 ** 40]) {
    test(`asked for pages of ${asked} bytes, says that they are of 4096`, async () => {
      const reply = await ask(start(asked))
      assertSuccess(reply)
      assert.deepEqual(reply.payload.subarray(8), Buffer.concat([u64(PAGE), u32(0, 0)]))
    })
  }

  const data = (...parts: Buffer[]) => feature(SET | START, Buffer.concat(parts))
  const most = Array.from({ length: 256 }, (_, i) => [2 * i * PAGE, PAGE] as const)
  for (const [title, payload] of [
    ['a page size of 0', start(0)],
    ['a page size of 3', start(3)],
    ['a page size of 12 KiB', start(3 * PAGE)],
    ['a page size of 2^63', data(u64(2n ** 63n), u32(0, 0))],
    ['2 ranges of which 1 is there', data(u64(PAGE), u32(2, 0), u64(0, PAGE))],
    ['0 ranges of which 1 is there', data(u64(PAGE), u32(0, 0), u64(0, PAGE))],
    ['half a range', data(u64(PAGE), u32(1, 0), u64(0))],
    ['2^32 - 1 ranges', data(u64(PAGE), u32(0xffffffff, 0), u64(0, PAGE))],
    // 16 * (2^28 + 1) is 16 in 32 bits
    ['a number of ranges that wraps', data(u64(PAGE), u32(2 ** 28 + 1, 0), u64(0, PAGE))],
    ['257 ranges', start(PAGE, [...most, [2 ** 30, PAGE]])],
    ['an unaligned range', start(PAGE, [[0x100001, PAGE]])],
    ['a range of half a page', start(PAGE, [[0x100000, 2048]])],
    ['an empty range', start(PAGE, [[0x100000, 0]])],
    ['a range that wraps', data(u64(PAGE), u32(1, 0), u64(2n ** 64n - 4096n, 8192))],
    ['a range that ends at 2^53', start(PAGE, [[2 ** 53 - PAGE, PAGE]])],
    [
      'ranges that overlap',
      start(PAGE, [
        [0x100000, 0x4000],
        [0x103000, PAGE],
      ]),
    ],
  ] as const) {
    test(`refuses ${title} with EINVAL, and does not start`, async () => {
      assertRefused(await ask(payload), 'EINVAL')
      assertRefused(await ask(report(RAM.iova, RAM.size)), 'EINVAL')
      await client.assertAlive()
    })
  }

  test('takes 256 ranges', async () => {
    assertSuccess(await ask(start(PAGE, most)))
  })

  test('while it is on is EINVAL, and it goes on', async () => {
    await on()
    write(5)
    assertRefused(await ask(start()), 'EINVAL')
    assert.deepEqual(await dirty(), [5])
  })
})

describe('DMA_LOGGING_REPORT', () => {
  test('has the pages that the device has written, once', async () => {
    await on()
    write(0)
    write(63, 2 * PAGE) // two whole pages
    write(98, PAGE + 1)
    assert.deepEqual(await dirty(), [0, 63, 64, 98, 99])
    assert.deepEqual(await dirty(), [])
    write(3)
    assert.deepEqual(await dirty(), [3])
  })

  test('has bits in whole u64 words, 0 beyond the range', async () => {
    await on()
    write(0, 100 * PAGE)
    const reply = await ask(report(RAM.iova, RAM.size))
    const words = [reply.payload.readBigUInt64LE(32), reply.payload.readBigUInt64LE(40)]
    assert.equal(reply.payload.length, 48)
    assert.deepEqual(words, [2n ** 64n - 1n, 2n ** 36n - 1n])
  })

  test('counts in the page size that it is asked for', async () => {
    await on()
    write(7)
    write(99)
    assert.deepEqual(await dirty(8 * PAGE), [0, 12])
    write(50)
    assert.deepEqual(await dirty(2 ** 52), [0])
  })

  test('has what was viewed, each time', async () => {
    await on()
    device.dma.view(RAM.iova + 10 * PAGE, PAGE + 1)
    assert.deepEqual(await dirty(), [10, 11])
    assert.deepEqual(await dirty(), [10, 11])
  })

  test('has nothing of reads, of what the client writes, or from before the start', async () => {
    write(1)
    await on()
    void device.dma.read(RAM.iova, Buffer.alloc(PAGE))
    assertSuccess(await client.request(REGION_WRITE, access(0, 0, 1, Buffer.of(1))))
    assert.deepEqual(await dirty(), [])
  })

  test('has its ranges alone', async () => {
    await on(PAGE, [
      [RAM.iova + 8 * PAGE, 8 * PAGE],
      [0, PAGE],
    ])
    write(0, 100 * PAGE)
    assert.deepEqual(await dirty(), [8, 9, 10, 11, 12, 13, 14, 15])
  })

  test('has writes of a map that came after the start, and none of the one before it', async () => {
    await on()
    write(1)
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap(RAM)))
    await map(RAM)
    assert.deepEqual(await dirty(), [])
    write(2)
    assert.deepEqual(await dirty(), [2])
  })

  for (const [title, payload, errno] of [
    ['a range that is no map', report(0x900000, PAGE), 'ENOENT'],
    ['a part of a map', report(RAM.iova, PAGE), 'ENOTSUP'],
    ['the end of a map', report(RAM.iova + PAGE, RAM.size - PAGE), 'ENOTSUP'],
    ['more than a map', report(RAM.iova, RAM.size + PAGE), 'ENOTSUP'],
    ['a map without a file', report(REMOTE.iova, REMOTE.size), 'EINVAL'],
    ['a page size of 0', report(RAM.iova, RAM.size, 0, 4096), 'EINVAL'],
    ['a page size of 4097', report(RAM.iova, RAM.size, 4097), 'EINVAL'],
    ['a page size below 4096', report(RAM.iova, RAM.size, 2048), 'EINVAL'],
    ['an argsz without room', report(RAM.iova, RAM.size, PAGE, 47), 'EINVAL'],
    ['an iova beyond 2^53', feature(GET | REPORT, u64(2n ** 63n, PAGE, PAGE), 4096), 'EINVAL'],
    [
      'a length of 2^64 - 1',
      feature(GET | REPORT, u64(RAM.iova, 2n ** 64n - 1n, PAGE), 0xffffffff),
      'EINVAL',
    ],
    [
      'a length of 2^53 - 1',
      feature(GET | REPORT, u64(RAM.iova, 2 ** 53 - 1, PAGE), 0xffffffff),
      'ENOTSUP',
    ],
  ] as const satisfies readonly (readonly [string, Buffer, Errno])[]) {
    test(`refuses ${title} with ${errno}, and forgets nothing`, async () => {
      await on()
      write(42)
      assertRefused(await ask(payload), errno)
      await client.assertAlive()
      assert.deepEqual(await dirty(), [42])
    })
  }

  test('is EINVAL before the start, and after the stop', async () => {
    assertRefused(await ask(report(RAM.iova, RAM.size)), 'EINVAL')
    await on()
    assertSuccess(await ask(feature(SET | STOP)))
    assertSuccess(await ask(feature(SET | STOP)))
    assertRefused(await ask(report(RAM.iova, RAM.size)), 'EINVAL')
  })

  test('is EINVAL for the next client: a log is of one address space', async () => {
    await on()
    client.close()
    await served.idle()
    await attach()
    assertRefused(await ask(report(RAM.iova, RAM.size)), 'EINVAL')
    await on()
    assert.deepEqual(await dirty(), [])
  })

  test('with No_reply forgets, and answers nothing', async () => {
    await on()
    write(42)
    const payload = report(RAM.iova, RAM.size)
    await client.send(message(DEVICE_FEATURE, payload, { flags: NO_REPLY }))
    assert.deepEqual(await dirty(), [])
  })
})

describe('DMA_UNMAP with the bitmap', () => {
  test('echoes its 40 bytes, then the bitmap, and takes the map away', async () => {
    await on()
    write(0)
    write(70)
    const request = unmap(RAM)
    assert.equal(request.length, 40)
    const reply = await client.request(DMA_UNMAP, request)
    assertSuccess(reply)
    assert.equal(reply.size, 16 + 24 + 16 + 16)
    assert.deepEqual(reply.payload.subarray(0, 40), request)
    assert.deepEqual(bitsOf(reply.payload.subarray(40)), [0, 70])
    assert.throws(() => device.dma.read(RAM.iova, new Uint8Array(1)), { code: 'EFAULT' })
    assert.deepEqual(resourcesOf().shared, [])
    assertRefused(await client.request(DMA_UNMAP, request), 'ENOENT')
  })

  test('takes an argsz that is larger, and larger pages', async () => {
    await on()
    write(20)
    const request = unmap(RAM, 16 * PAGE, 8, 0xffffffff)
    const reply = await client.request(DMA_UNMAP, request)
    assertSuccess(reply)
    assert.deepEqual(reply.payload, Buffer.concat([request, u64(2)]))
  })

  for (const [title, payload, errno] of [
    ['a payload of 24 bytes', unmap(RAM).subarray(0, 24), 'EINVAL'],
    ['a payload of 39 bytes', unmap(RAM).subarray(0, 39), 'EINVAL'],
    ['a payload of 41 bytes', Buffer.concat([unmap(RAM), Buffer.of(0)]), 'EINVAL'],
    ['40 bytes without the flag', unmap(RAM, PAGE, 16, 56, 0), 'EINVAL'],
    ['ALL beside it', unmap({ iova: 0, size: 0 }, PAGE, 0, 56, BITMAP | 2), 'EINVAL'],
    ['ALL beside it, of a map', unmap(RAM, PAGE, 16, 56, BITMAP | 2), 'EINVAL'],
    ['flag 4 beside it', unmap(RAM, PAGE, 16, 56, BITMAP | 4), 'EINVAL'],
    ['argsz 24', unmap(RAM, PAGE, 16, 24), 'EINVAL'],
    ['an argsz of one too few', unmap(RAM, PAGE, 16, 55), 'EINVAL'],
    ['a bitmap size of 0', unmap(RAM, PAGE, 0, 56), 'EINVAL'],
    ['a bitmap size that is too small', unmap(RAM, PAGE, 8, 56), 'EINVAL'],
    ['a bitmap size that is too large', unmap(RAM, PAGE, 24, 64), 'EINVAL'],
    ['a bitmap size in bytes of pages', unmap(RAM, PAGE, 13, 64), 'EINVAL'],
    [
      'a bitmap size of 2^64 - 1',
      Buffer.concat([dmaUnmap({ ...RAM, argsz: 56, flags: BITMAP }), u64(PAGE, 2n ** 64n - 1n)]),
      'EINVAL',
    ],
    ['a page size of 0', unmap(RAM, 0, 16, 56), 'EINVAL'],
    ['a page size of 12 KiB', unmap(RAM, 3 * PAGE), 'EINVAL'],
    ['a page size below 4096', unmap(RAM, 2048), 'EINVAL'],
    ['a range that is no map', unmap({ iova: 0x900000, size: PAGE }), 'ENOENT'],
    ['a map without a file', unmap(REMOTE), 'EINVAL'],
  ] as const satisfies readonly (readonly [string, Buffer, Errno])[]) {
    test(`refuses ${title} with ${errno}, and takes nothing away`, async () => {
      await on()
      write(42)
      assertRefused(await client.request(DMA_UNMAP, payload), errno)
      assert.deepEqual(await dirty(), [42])
      assertSuccess(await client.request(DMA_UNMAP, dmaUnmap(REMOTE)))
    })
  }

  test('is EINVAL while the log is off, and takes nothing away', async () => {
    assertRefused(await client.request(DMA_UNMAP, unmap(RAM)), 'EINVAL')
    write(1)
  })

  test('leaves the plain form as it is', async () => {
    await on()
    const request = dmaUnmap(RAM)
    const reply = await client.request(DMA_UNMAP, request)
    assertSuccess(reply)
    assert.deepEqual(reply.payload, request)
  })
})

describe('a bitmap that is larger than the outbox', () => {
  /** Sparse, so it takes no memory; 2 MiB of bits. */
  const BIG = { iova: 2 ** 40, size: 64 * GiB }
  const BYTES = 2 * 2 ** 20

  test('comes whole, between other replies', async () => {
    await map(BIG)
    await on()
    const last = BIG.iova + BIG.size - 1
    void device.dma.write(BIG.iova, Buffer.of(1))
    void device.dma.write(last, Buffer.of(1))
    const state = message(DEVICE_FEATURE, feature(GET | 2), { id: 1 })
    const big = message(DEVICE_FEATURE, report(BIG.iova, BIG.size), { id: 2 })
    await client.send(Buffer.concat([state, big, state, big]))
    for (const bits of [[0, 16 * 2 ** 20 - 1], []]) {
      assert.equal((await client.reply()).size, 32)
      const reply = await client.reply()
      assertSuccess(reply)
      assert.equal(reply.id, 2)
      assert.equal(reply.size, 16 + 32 + BYTES)
      const bitmap = reply.payload.subarray(32)
      assert.deepEqual(
        bits.map((bit) => (bitmap[bit >> 3]! >> (bit & 7)) & 1),
        bits.map(() => 1),
      )
      assert.equal(bitmap.filter((byte) => byte !== 0).length, bits.length)
    }
    await client.assertAlive()
  })

  test('of an unmap too', async () => {
    await map(BIG)
    await on()
    const reply = await client.request(DMA_UNMAP, unmap(BIG))
    assertSuccess(reply)
    assert.equal(reply.size, 16 + 40 + BYTES)
    assert.deepEqual(reply.payload.subarray(0, 40), unmap(BIG))
  })

  test('is not built for an argsz without room for it, nor for nobody', async () => {
    await map(BIG)
    await on()
    assertRefused(await ask(report(BIG.iova, BIG.size, PAGE, 32)), 'EINVAL')
    const request = message(DEVICE_FEATURE, report(BIG.iova, BIG.size), { flags: NO_REPLY })
    await client.send(request)
    await client.assertAlive()
    const refused = await client.request(99)
    assertRefused(refused, 'EINVAL')
    await client.assertAlive()
  })

  test('is left behind when the client goes without reading it', async () => {
    await map(BIG)
    await on()
    const request = message(DEVICE_FEATURE, report(BIG.iova, BIG.size))
    await client.send(Buffer.concat([request, request]))
    await client.received()
    client.close()
    await served.idle()
    await attach()
    await client.assertAlive()
  })

  test("is EINVAL beyond the client's max_bitmap_size, and comes in larger pages", async () => {
    client.close()
    await served.idle()
    await attach('{"capabilities":{"migration":{"pgsize":4096,"max_bitmap_size":2097151}}}')
    await map(BIG)
    await on()
    assertRefused(await ask(report(BIG.iova, BIG.size)), 'EINVAL')
    assertRefused(await client.request(DMA_UNMAP, unmap(BIG)), 'EINVAL')
    const reply = await ask(report(BIG.iova, BIG.size, 2 * PAGE))
    assertSuccess(reply)
    assert.equal(reply.size, 16 + 32 + BYTES / 2)
  })

  test('beyond 256 MiB cannot be asked for: no map is larger than 8 TiB', async () => {
    client.close()
    await served.idle()
    await attach('{"capabilities":{"migration":{"max_bitmap_size":18446744073709547520}}}')
    await on()
    assertRefused(await ask(report(RAM.iova, 2 ** 52, PAGE, 0xffffffff)), 'ENOTSUP')
    assertRefused(await client.request(DMA_MAP, dmaMap({ iova: 2 ** 44, size: 2 ** 44 })), 'ENOSPC')
  })
})

describe('Client.dirtyLog', () => {
  let ours: Client
  beforeEach(async () => {
    client.close()
    await served.idle()
    ours = await Client.attach(served.path)
    await ours.writeRegister(7, 4, 4, 2)
  })
  afterEach(() => ours.detach())

  test('starts, reports and stops', async () => {
    const memory = await ours.map(RAM.iova, RAM.size)
    await assert.rejects(ours.dirtyLog.report(RAM.iova, RAM.size), { code: 'EINVAL' })
    assert.equal(await ours.dirtyLog.start({ pageSize: 2 ** 21 }), PAGE)
    write(9)
    assert.deepEqual(bitsOf(await ours.dirtyLog.report(RAM.iova, RAM.size)), [9])
    write(9)
    assert.deepEqual(bitsOf(await ours.dirtyLog.report(RAM.iova, RAM.size, 8 * PAGE)), [1])
    await assert.rejects(ours.dirtyLog.report(0x900000, PAGE), { code: 'ENOENT' })
    await ours.dirtyLog.stop()
    const ranges = [{ iova: RAM.iova, length: PAGE }]
    await ours.dirtyLog.start({ ranges })
    write(0, 4 * PAGE)
    assert.deepEqual(bitsOf(await ours.dirtyLog.report(RAM.iova, RAM.size)), [0])
    await memory.unmap() // not left to the collector: the next test looks at what is mapped
  })

  test('unmaps with the bitmap', async () => {
    const before = openFds()
    const memory = await ours.map(RAM.iova, RAM.size)
    await assert.rejects(memory.unmapWithBitmap(), { code: 'EINVAL' })
    await ours.dirtyLog.start()
    write(9)
    assert.deepEqual(bitsOf(await memory.unmapWithBitmap()), [9])
    assert.throws(() => device.dma.read(RAM.iova, new Uint8Array(1)), { code: 'EFAULT' })
    assert.deepEqual(openFds(), before)
    assert.deepEqual(resourcesOf().shared, [])
  })

  test('gets a bitmap larger than any other reply', async () => {
    const big = { iova: 2 ** 40, size: 40 * GiB }
    const fd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
    ftruncateSync(fd, big.size)
    await ours.request(DMA_MAP, dmaMap(big), [fd])
    await ours.dirtyLog.start()
    void device.dma.write(big.iova + PAGE, Buffer.of(1))
    const bitmap = await ours.dirtyLog.report(big.iova, big.size)
    assert.equal(bitmap.length, (40 * 2 ** 18) / 8)
    assert.equal(bitmap[0], 2)
  })
})
