/** DMA_UNMAP: sections 6.2 and 19 of the reference. */
import assert from 'node:assert/strict'
import { ftruncateSync, openSync, writeSync } from 'node:fs'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { Fds, makeMemfd, MFD_ALLOW_SEALING, openFds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import { BusyThreadPool } from '../support/thread-pool.ts'
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
  u64,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'
import { until } from '../support/until.ts'

const ALL = 2
const BITMAP = 1

let served: Served
let device: TestDevice
let client: RawClient
let fds: Fds
before(async () => {
  ;({ served, device } = await serveTestDevice())
})
after(() => served[Symbol.dispose]())

/** Two pages at 0x10000, and one without an fd at 0x20000. */
beforeEach(async () => {
  fds = new Fds()
  client = await RawClient.attach(served.path)
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // Bus Master Enable
  const fd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(fd, 0x2000)
  writeSync(fd, 'mapped')
  const map = dmaMap({ iova: 0x10000, size: 0x2000 })
  assertSuccess(await client.request(DMA_MAP, map, { fds: [fd] }))
  assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0x20000 })))
})
afterEach(async () => {
  client.close()
  await served.idle()
  fds[Symbol.dispose]()
})

describe('DMA_UNMAP', () => {
  test('echoes its 24 bytes, and the memory is out of reach before that', async () => {
    const view = device.dma.view(0x10000, 6)
    assert.equal(Buffer.from(view).toString(), 'mapped')
    const request = dmaUnmap({ iova: 0x10000, size: 0x2000 })
    const reply = await client.request(DMA_UNMAP, request)
    assertSuccess(reply)
    assert.equal(reply.size, 40)
    assert.deepEqual(reply.payload, request)
    assert.throws(() => device.dma.view(0x10000, 6), { code: 'EFAULT' })
    assert.deepEqual(Buffer.from(view), Buffer.alloc(6), 'a view that was kept reads zeros')
    assert.deepEqual(resourcesOf().shared, [])
  })

  test('takes a map away that came without an fd', async () => {
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0x20000 })))
    const again = await client.request(DMA_UNMAP, dmaUnmap({ iova: 0x20000 }))
    assertSuccess(again)
    assert.deepEqual(again.payload, dmaUnmap({ iova: 0x20000, size: 0 }), 'none was there')
  })

  // type1 version 2 (mdev.md 4.4), and what QEMU sends behind a vIOMMU: it unmaps the address space in large pieces
  for (const [title, iova, size, gone] of [
    ['nothing', 0x50000, 0x1000, 0],
    ['one map and more', 0x10000, 0x3000, 0x2000],
    ['two maps and what is between', 0x10000, 0x11000, 0x3000],
    ['all up to the end of the address space', 0x10000n, 2n ** 64n - 0x10000n, 0x3000],
    ['the upper half of the address space', 2n ** 63n, 2n ** 63n, 0],
  ] as const) {
    test(`of ${title} takes whole maps, and says how many bytes of them`, async () => {
      const reply = await client.request(DMA_UNMAP, dmaUnmap({ iova, size }))
      assertSuccess(reply)
      assert.deepEqual(reply.payload, dmaUnmap({ iova, size: gone }))
      if (gone > 0) assert.throws(() => device.dma.view(0x10000, 6), { code: 'EFAULT' })
      else assert.equal(Buffer.from(device.dma.view(0x10000, 6)).toString(), 'mapped')
      assert.deepEqual(resourcesOf().shared.length > 0, gone === 0)
    })
  }

  for (const [title, request] of [
    ['of a map', dmaUnmap({ iova: 0x10000, size: 0x2000 })],
    ['of ALL', dmaUnmap({ flags: ALL, iova: 0, size: 0 })],
  ] as const) {
    test(`${title} is answered when file I/O into it has ended, and its memory is out of reach at once`, async () => {
      using pool = new BusyThreadPool()
      const disk = fds.own(openSync('/dev/zero', 'r'))
      const moved = device.dma.writeFromFile([{ iova: 0x10000, length: 6 }], disk, 0)
      let answered = false
      const { dmaUnmaps } = served.stats
      const reply = client.request(DMA_UNMAP, request).finally(() => {
        answered = true
      })
      await until(() => assert.equal(served.stats.dmaUnmaps, dmaUnmaps + 1))
      assert.throws(() => device.dma.readU8(0x10000), { code: 'EFAULT' })
      assert.equal(answered, false)
      await pool.release()
      assert.deepEqual((await reply).payload, request)
      assert.equal(await moved, 6)
      assert.deepEqual(resourcesOf().shared, [])
      await client.assertAlive()
    })
  }

  test('a client that goes while its unmap waits leaves nothing behind', async () => {
    using pool = new BusyThreadPool()
    const disk = fds.own(openSync('/dev/zero', 'r'))
    const moved = device.dma.writeFromFile([{ iova: 0x10000, length: 6 }], disk, 0)
    const { dmaUnmaps } = served.stats
    client.request(DMA_UNMAP, dmaUnmap({ iova: 0x10000, size: 0x2000 })).catch(() => {})
    await until(() => assert.equal(served.stats.dmaUnmaps, dmaUnmaps + 1))
    client.close()
    await served.idle()
    assert.equal(resourcesOf().shared.length, 1)
    await pool.release()
    assert.equal(await moved, 6)
    assert.deepEqual(resourcesOf().shared, [])
  })

  test('with ALL takes every map away, and echoes', async () => {
    const request = dmaUnmap({ flags: ALL, iova: 0, size: 0 })
    const reply = await client.request(DMA_UNMAP, request)
    assertSuccess(reply)
    assert.deepEqual(reply.payload, request)
    for (const [iova, size] of [
      [0x10000, 0x2000],
      [0x20000, 0x1000],
    ] as const) {
      const again = await client.request(DMA_UNMAP, dmaUnmap({ iova, size }))
      assert.deepEqual(again.payload, dmaUnmap({ iova, size: 0 }))
    }
    assert.deepEqual(resourcesOf().shared, [])
  })

  test('with ALL succeeds when there is no map', async () => {
    const request = dmaUnmap({ flags: ALL, iova: 0, size: 0 })
    assertSuccess(await client.request(DMA_UNMAP, request))
    assertSuccess(await client.request(DMA_UNMAP, request))
  })

  test("closes the fd that SPDK's client sends along, and succeeds", async () => {
    const fd = fds.own(makeMemfd(0))
    const before = openFds()
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0x20000 }), { fds: [fd] }))
    assert.deepEqual(openFds(), before)
  })

  test('the range can be mapped again', async () => {
    const range = { iova: 0x10000, size: 0x2000 }
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap(range)))
    assertSuccess(await client.request(DMA_MAP, dmaMap(range)))
  })
})

const REFUSED: readonly [title: string, fields: DmaFields, errno: Errno][] = [
  ['a part of a map', { iova: 0x10000, size: 0x1000 }, 'EINVAL'],
  ['the second part of a map', { iova: 0x11000, size: 0x1000 }, 'EINVAL'],
  ['a map and a part of another', { iova: 0x11000, size: 0x10000 }, 'EINVAL'],
  ['size 0', { iova: 0x10000, size: 0 }, 'EINVAL'],
  ['an address that is unaligned', { iova: 0x10800, size: 0x2000 }, 'EINVAL'],
  ['a size that is unaligned', { iova: 0x10000, size: 0x2800 }, 'EINVAL'],
  ['argsz 23', { argsz: 23, iova: 0x10000, size: 0x2000 }, 'EINVAL'],
  ['flag 4', { flags: 4, iova: 0x10000, size: 0x2000 }, 'EINVAL'],
  ['the bitmap, with no logging on', { flags: BITMAP, iova: 0x10000, size: 0x2000 }, 'EINVAL'],
  ['ALL with the bitmap', { flags: ALL | BITMAP, iova: 0, size: 0 }, 'EINVAL'],
  ['ALL with an address', { flags: ALL, iova: 0x10000, size: 0 }, 'EINVAL'],
  ['ALL with a size', { flags: ALL, iova: 0, size: 0x2000 }, 'EINVAL'],
  ['size 0 beyond 2^53', { iova: 2n ** 63n, size: 0 }, 'EINVAL'],
  ['an unaligned address beyond 2^53', { iova: 2n ** 63n + 1n }, 'EINVAL'],
  ['a range that wraps', { iova: 0x10000, size: 2n ** 64n - 0x1000n }, 'EINVAL'],
]

describe('DMA_UNMAP refuses', () => {
  for (const [title, fields, errno] of REFUSED) {
    test(`${title} with ${errno}, and takes nothing away`, async () => {
      assertRefused(await client.request(DMA_UNMAP, dmaUnmap(fields)), errno)
      assert.equal(Buffer.from(device.dma.view(0x10000, 6)).toString(), 'mapped')
      assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0x20000 })))
    })
  }

  const whole = { iova: 0x10000, size: 0x2000 }
  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 23 bytes', dmaUnmap(whole).subarray(0, 23)],
    ['a payload of 25 bytes', Buffer.concat([dmaUnmap(whole), Buffer.alloc(1)])],
    [
      'a bitmap of 40 bytes, with no logging on',
      Buffer.concat([dmaUnmap({ ...whole, argsz: 48, flags: BITMAP }), u64(4096, 8)]),
    ],
    ['40 bytes without the bitmap flag', Buffer.concat([dmaUnmap(whole), u64(4096, 8)])],
  ] as const) {
    test(`${title} with EINVAL, and takes nothing away`, async () => {
      assertRefused(await client.request(DMA_UNMAP, payload), 'EINVAL')
      assert.equal(Buffer.from(device.dma.view(0x10000, 6)).toString(), 'mapped')
      await client.assertAlive()
    })
  }

  test('two fds with EINVAL, and closes both', async () => {
    const fd = fds.own(makeMemfd(0))
    const before = openFds()
    assertRefused(await client.request(DMA_UNMAP, dmaUnmap(whole), { fds: [fd, fd] }), 'EINVAL')
    assert.deepEqual(openFds(), before)
    assert.equal(Buffer.from(device.dma.view(0x10000, 6)).toString(), 'mapped')
  })
})
