/** DMA_MAP: sections 6.1 and 19 of the reference. */
import assert from 'node:assert/strict'
import { constants, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { Fds, makeMemfd, makePipe, MFD_ALLOW_SEALING, openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'
import type { TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  DMA_MAP,
  DMA_UNMAP,
  type DmaFields,
  dmaMap,
  dmaUnmap,
  type Errno,
  RawClient,
  REGION_WRITE,
  u16,
  u32,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

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
  // Bus Master Enable, without which the device may not reach memory
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4))))
})
afterEach(async () => {
  client.close()
  await served.idle()
  fds[Symbol.dispose]()
})

/** A memfd that begins with `text`; it can be sealed against shrinking unless told otherwise. */
function memfd(size: number, text = '', flags = MFD_ALLOW_SEALING): number {
  const fd = fds.own(makeMemfd(flags))
  ftruncateSync(fd, size)
  writeSync(fd, text)
  return fd
}

/** What the device reads at `iova`. */
function deviceReads(iova: number, length: number): string {
  const bytes = new Uint8Array(length)
  assert.equal(device.dma.read(iova, bytes), undefined)
  return Buffer.from(bytes).toString()
}

/** What is in a file at `offset`. */
function inFile(fd: number, length: number, offset = 0): string {
  const bytes = Buffer.alloc(length)
  readSync(fd, bytes, 0, length, offset)
  return bytes.toString()
}

describe('DMA_MAP', () => {
  test('maps a memfd, and answers with a header alone', async () => {
    const fd = memfd(0x3000, 'hello')
    const reply = await client.request(DMA_MAP, dmaMap({ iova: 0x10000, size: 0x3000 }), {
      fds: [fd],
    })
    assertSuccess(reply)
    assert.equal(reply.size, 16)
    assert.equal(deviceReads(0x10000, 5), 'hello')
    assert.equal(device.dma.write(0x12ffb, Buffer.from('there')), undefined)
    assert.equal(inFile(fd, 5, 0x2ffb), 'there')
  })

  test('maps from an offset in the file', async () => {
    const fd = memfd(0x3000)
    writeSync(fd, 'at 0x2000', 0x2000)
    const request = dmaMap({ iova: 0x7000, offset: 0x2000 })
    assertSuccess(await client.request(DMA_MAP, request, { fds: [fd] }))
    assert.equal(deviceReads(0x7000, 9), 'at 0x2000')
  })

  test('maps one file several times, each with an fd of its own', async () => {
    const fd = memfd(0x2000, 'first')
    writeSync(fd, 'second', 0x1000)
    assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0 }), { fds: [fd] }))
    const second = dmaMap({ iova: 2 ** 32, offset: 0x1000 })
    assertSuccess(await client.request(DMA_MAP, second, { fds: [fd] }))
    assert.equal(deviceReads(0, 5), 'first')
    assert.equal(deviceReads(2 ** 32, 6), 'second')
  })

  test('reaches a file that may shrink, and reads zeros where it has shrunk', async () => {
    const fd = memfd(0x2000, 'short', 0) // F_SEAL_SEAL is set: nobody can forbid it to shrink
    assertSuccess(await client.request(DMA_MAP, dmaMap({ size: 0x2000 }), { fds: [fd] }))
    assert.equal(deviceReads(0, 5), 'short')
    ftruncateSync(fd, 0)
    assert.equal(deviceReads(0x1000, 5), '\0'.repeat(5))
  })

  test('maps without an fd a range of which the device has no view', async () => {
    assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0xfffc0000, flags: 1 })))
    assert.throws(() => device.dma.view(0xfffc0000, 1), { code: /^(EFAULT|EOPNOTSUPP)$/ })
  })

  test('maps with flags 0 a range that the device may not touch', async () => {
    const fd = memfd(0x1000)
    assertSuccess(await client.request(DMA_MAP, dmaMap({ flags: 0 }), { fds: [fd] }))
    assert.throws(() => deviceReads(0, 1), { code: 'EACCES' })
    assert.throws(() => device.dma.write(0, new Uint8Array(1)), { code: 'EACCES' })
  })

  test('with flags 1 the device may read, not write', async () => {
    const fd = memfd(0x1000, 'rom')
    assertSuccess(await client.request(DMA_MAP, dmaMap({ flags: 1 }), { fds: [fd] }))
    assert.equal(deviceReads(0, 3), 'rom')
    assert.throws(() => device.dma.write(0, new Uint8Array(1)), { code: 'EACCES' })
  })

  test('with flags 2 the device may write, not read', async () => {
    const fd = memfd(0x1000)
    assertSuccess(await client.request(DMA_MAP, dmaMap({ flags: 2 }), { fds: [fd] }))
    assert.equal(device.dma.write(0, Buffer.from('in')), undefined)
    assert.equal(inFile(fd, 2), 'in')
    assert.throws(() => deviceReads(0, 1), { code: 'EACCES' })
  })

  test('the same map again succeeds, changes nothing, and closes the new fd', async () => {
    const fd = memfd(0x1000, 'same')
    assertSuccess(await client.request(DMA_MAP, dmaMap(), { fds: [fd] }))
    const before = openFds()
    assertSuccess(await client.request(DMA_MAP, dmaMap(), { fds: [fd] }))
    assert.deepEqual(openFds(), before)
    assert.equal(deviceReads(0, 4), 'same')
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap()))
    assert.throws(() => deviceReads(0, 4), { code: 'EFAULT' })
  })

  test('a map right before and one right after another are no overlap', async () => {
    for (const iova of [0x2000, 0x1000, 0x3000]) {
      assertSuccess(await client.request(DMA_MAP, dmaMap({ iova })))
    }
  })

  test('argsz larger than the struct is accepted', async () => {
    assertSuccess(await client.request(DMA_MAP, dmaMap({ argsz: 0xffffffff })))
  })

  test('the memory goes with the client', async () => {
    const fd = memfd(0x1000, 'mine')
    assertSuccess(await client.request(DMA_MAP, dmaMap(), { fds: [fd] }))
    client.close()
    await served.idle()
    assert.throws(() => deviceReads(0, 1), { code: 'EFAULT' })
    client = await RawClient.attach(served.path)
    assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4))))
    assert.throws(() => deviceReads(0, 1), { code: 'EFAULT' })
  })
})

const PAGE_TOP = 2n ** 64n - 4096n

/** Without an fd; none of them may leave a map behind. */
const REFUSED: readonly [title: string, fields: DmaFields, errno: Errno][] = [
  ['argsz 31', { argsz: 31 }, 'EINVAL'],
  ['argsz 0', { argsz: 0 }, 'EINVAL'],
  ['flag 4 without an fd', { flags: 3 | 4 }, 'EINVAL'],
  ['flag 8 without an fd', { flags: 3 | 8 }, 'EINVAL'],
  ['flag 0x10', { flags: 3 | 0x10 }, 'EINVAL'],
  ['flag 2^31', { flags: 2 ** 31 }, 'EINVAL'],
  ['size 0', { size: 0 }, 'EINVAL'],
  ['a size of half a page', { size: 0x800 }, 'EINVAL'],
  ['an unaligned size', { size: 0x1001 }, 'EINVAL'],
  ['an unaligned address', { iova: 0x800 }, 'EINVAL'],
  ['address + size = 2^64', { iova: PAGE_TOP, size: 0x1000 }, 'EINVAL'],
  ['address + size beyond 2^64', { iova: PAGE_TOP, size: 0x2000 }, 'EINVAL'],
  ['a size of nearly 2^64', { iova: 0x1000, size: PAGE_TOP }, 'EINVAL'],
  ['address + size beyond 2^53', { iova: 2n ** 53n - 4096n, size: 0x2000 }, 'EINVAL'],
]

describe('DMA_MAP refuses', () => {
  for (const [title, fields, errno] of REFUSED) {
    test(`${title} with ${errno}, maps nothing, and lives`, async () => {
      assertRefused(await client.request(DMA_MAP, dmaMap(fields)), errno)
      assert.deepEqual(device.dma.maps(), [])
      await client.assertAlive()
    })
  }

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 31 bytes', dmaMap().subarray(0, 31)],
    ['a payload of 33 bytes', Buffer.concat([dmaMap(), Buffer.alloc(1)])],
  ] as const) {
    test(`${title} with EINVAL, closes the fd, and lives`, async () => {
      const fd = memfd(0x1000)
      const before = openFds()
      assertRefused(await client.request(DMA_MAP, payload, { fds: [fd] }), 'EINVAL')
      assert.deepEqual(openFds(), before)
      await client.assertAlive()
    })
  }

  for (const [title, fields] of [
    ['the same range with another right', { flags: 1 }],
    ['the same range at another offset', { offset: 0x1000 }],
    ['a range inside', { iova: 0x11000 }],
    ['a range around', { iova: 0xf000, size: 0x8000 }],
    ['an overlap at the start', { iova: 0xf000, size: 0x2000 }],
    ['an overlap at the end', { iova: 0x13000, size: 0x2000 }],
  ] as const) {
    test(`${title} with EEXIST, and closes the fd`, async () => {
      const fd = memfd(0x10000, 'kept')
      const first = dmaMap({ iova: 0x10000, size: 0x4000 })
      assertSuccess(await client.request(DMA_MAP, first, { fds: [fd] }))
      const before = openFds()
      const second = dmaMap({ iova: 0x10000, size: 0x4000, ...fields })
      assertRefused(await client.request(DMA_MAP, second, { fds: [fd] }), 'EEXIST')
      assert.deepEqual(openFds(), before)
      assert.equal(deviceReads(0x10000, 4), 'kept')
    })
  }

  test('the same range of another file with EEXIST, and closes its fd', async () => {
    const [first, second] = [memfd(0x1000, 'first'), memfd(0x1000, 'second')]
    assertSuccess(await client.request(DMA_MAP, dmaMap(), { fds: [first] }))
    const before = openFds()
    assertRefused(await client.request(DMA_MAP, dmaMap(), { fds: [second] }), 'EEXIST')
    assert.deepEqual(openFds(), before)
    assert.equal(deviceReads(0, 5), 'first')
  })

  const BAD_FDS: readonly [title: string, make: (scratch: Scratch) => number, errno: Errno][] = [
    ['a file shorter than the range', () => memfd(0xfff), 'EINVAL'],
    ['an empty file', () => memfd(0), 'EINVAL'],
    ['a pipe', () => makePipe().map((fd) => fds.own(fd))[0] ?? -1, 'EINVAL'],
    ['a directory', (scratch) => fds.own(openSync(scratch.path, constants.O_RDONLY)), 'EINVAL'],
    ['a character device', () => fds.own(openSync('/dev/zero', constants.O_RDWR)), 'EINVAL'],
    ['the socket itself', () => client.fd, 'EINVAL'],
    ['a file opened for reading', (scratch) => openPage(scratch, constants.O_RDONLY), 'EACCES'],
    ['a file opened for writing', (scratch) => openPage(scratch, constants.O_WRONLY), 'EACCES'],
  ]

  function openPage(scratch: Scratch, flags: number): number {
    return fds.own(openSync(scratch.write('page', 'x'.repeat(4096)), flags))
  }

  for (const [title, make, errno] of BAD_FDS) {
    test(`${title} with ${errno}, closes it, and lives`, async () => {
      using scratch = new Scratch()
      const fd = make(scratch)
      const before = openFds()
      assertRefused(await client.request(DMA_MAP, dmaMap(), { fds: [fd] }), errno)
      assert.deepEqual(openFds(), before)
      assert.throws(() => deviceReads(0, 1), { code: 'EFAULT' })
      await client.assertAlive()
    })
  }

  for (const [title, fields] of [
    ['an unaligned offset', { offset: 0x800 }],
    ['offset + size beyond the file', { offset: 0x2000 }],
    ['an offset of 2^64 - 4096', { offset: PAGE_TOP }],
    ['an offset of 2^63', { offset: 2n ** 63n }],
    ['an offset that wraps with the size', { offset: 2n ** 53n - 4096n, size: 0x1000 }],
  ] as const) {
    test(`${title} with EINVAL, and closes the fd`, async () => {
      const fd = memfd(0x2000)
      const before = openFds()
      assertRefused(await client.request(DMA_MAP, dmaMap(fields), { fds: [fd] }), 'EINVAL')
      assert.deepEqual(openFds(), before)
      await client.assertAlive()
    })
  }

  test('two fds with EINVAL, and closes both', async () => {
    const fd = memfd(0x1000)
    const before = openFds()
    assertRefused(await client.request(DMA_MAP, dmaMap(), { fds: [fd, fd] }), 'EINVAL')
    assert.deepEqual(openFds(), before)
    await client.assertAlive()
  })

  test('a read-only file is good for a map that the device only reads', async () => {
    using scratch = new Scratch()
    const fd = openPage(scratch, constants.O_RDONLY)
    assertSuccess(await client.request(DMA_MAP, dmaMap({ flags: 1 }), { fds: [fd] }))
    assert.equal(deviceReads(0, 1), 'x')
  })

  test('one map more than max_dma_maps with ENOSPC', { timeout: 120_000 }, async () => {
    const messages = 64
    const most = 65535
    for (let first = 0; first < most; first += messages) {
      const count = Math.min(messages, most - first)
      const requests = Array.from({ length: count }, (_, i) =>
        Buffer.concat([u16(i, DMA_MAP), u32(48, 0, 0), dmaMap({ iova: (first + i) * 0x1000 })]),
      )
      await client.send(Buffer.concat(requests))
      for (let i = 0; i < count; i++) assertSuccess(await client.reply())
    }
    const more = dmaMap({ iova: most * 0x1000 })
    assertRefused(await client.request(DMA_MAP, more), 'ENOSPC')
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0x5000 })))
    assertSuccess(await client.request(DMA_MAP, more))
  })
})
