/** Guest memory of a real client over a real socket: what the driver is told, pins, and very many maps. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { ftruncateSync } from 'node:fs'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { Unwind } from '../../src/lib/unwind.ts'
import { defineDriver, type Driver, type Mdev } from '../../src/mdev/driver.ts'
import type { Pin } from '../../src/iommu/pin.ts'
import { ProcessMemlock } from '../../src/os/memlock-limit.ts'
import { Fds, makeMemfd, MFD_ALLOW_SEALING } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'
import {
  access,
  assertSuccess,
  DMA_MAP,
  DMA_UNMAP,
  dmaMap,
  dmaUnmap,
  message,
  RawClient,
  REGION_WRITE,
  u16,
} from '../support/vfio-user-raw.ts'
import { Served } from '../support/vfio-user-served.ts'

const PAGE = 4096
const ALL = 2
const MOST_MAPS = 65_535
/** Maps that are tried: a refusal costs 30 us here, where stack traces are mapped to sources. */
const ATTEMPTS = 200_000
/** Requests that are sent in one go. */
const BATCH = 1000

/** Pages that this process has locked. */
function locked(): number {
  const self = new ProcessMemlock(process.pid)
  try {
    return self.locked() / PAGE
  } finally {
    self.close()
  }
}

/** A driver that notes what it is told of the client's memory, and pins where the test wants it. */
class Watcher {
  readonly told: unknown[][] = []
  readonly pins: Pin[] = []
  mdev: Mdev | undefined
  readonly driver: Driver

  constructor() {
    this.driver = defineDriver({
      name: 'watcher',
      types: { 1: {} },
      probe: (mdev) => {
        mdev.pci({ vendor: 0x1b36, device: 0xbe20, class: 0xff_00_00 })
        this.mdev = mdev
        return {
          reset: (why) => void this.told.push(['reset', why]),
          dmaMap: ({ iova, size }) => void this.told.push(['map', iova, size]),
          dmaUnmap: ({ iova, size }) => void this.told.push(['unmap', iova, size]),
        }
      },
    }) as Driver
  }

  get dma() {
    if (this.mdev === undefined) throw new Error('not probed yet')
    return this.mdev.dma
  }
}

let watcher: Watcher
let served: Served
let client: RawClient
let fds: Fds
let fd: number
beforeEach(async () => {
  watcher = new Watcher()
  served = await Served.start(watcher.driver)
  client = await RawClient.attach(served.path)
  fds = new Fds()
  fd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(fd, 16 * PAGE)
  assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // Bus Master Enable
})
afterEach(async () => {
  client.close()
  await served.idle()
  served[Symbol.dispose]()
  fds[Symbol.dispose]()
})

describe('DeviceOps', () => {
  test('dmaMap() and dmaUnmap() are told of each map, and reset() alone of the end', async () => {
    assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0 }), { fds: [fd] }))
    assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0 }), { fds: [fd] })) // the same
    assertSuccess(await client.request(DMA_MAP, dmaMap({ iova: 0x8000, size: 0x2000 })))
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0 })))
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0 }))) // of nothing
    client.close()
    await served.idle()
    assert.deepEqual(watcher.told, [
      ['map', 0, 0x1000],
      ['map', 0x8000, 0x2000],
      ['unmap', 0, 0x1000],
      ['reset', 'disconnect'],
    ])
  })
})

describe('Mdev.dma.pin()', () => {
  test('holds pages until the client unmaps them, or goes', async () => {
    const before = locked()
    const map = dmaMap({ iova: 0, size: 0x4000 })
    assert.throws(() => watcher.dma.pin(0, 1, 'read'), { code: 'EINVAL' })
    assertSuccess(await client.request(DMA_MAP, map, { fds: [fd] }))
    const first = watcher.dma.pin(0, 4, 'read-write')
    assert.equal(locked() - before, 4)
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ iova: 0, size: 0x4000 })))
    assert.deepEqual([first.held, locked() - before], [false, 0])
    assert.ok(served.lines.some((line) => /still held 1 pins of it/.test(line)))
    assertSuccess(await client.request(DMA_MAP, map, { fds: [fd] }))
    const second = watcher.dma.pin(0x1000, 1, 'read')
    client.close()
    await served.idle()
    assert.deepEqual([second.held, locked() - before], [false, 0])
    assert.throws(() => watcher.dma.pin(0, 1, 'read'), { code: 'EINVAL' })
  })
})

describe('Host', () => {
  test('lockLimit is for all that its driver pins, and mapUnsealed maps what can shrink', async () => {
    using scratch = new Scratch()
    const { driver } = watcher
    const options = { driver, log: silentLogger, root: scratch.path }
    const host = new Host({ ...options, lockLimit: 2 * PAGE, mapUnsealed: true })
    using end = new Unwind()
    end.defer(() => host.close())
    const mdev = await host.create('watcher-1', '6b6f1c2e-52a5-4b0f-9a7c-0c9f1f8d7e12')
    client.close()
    client = await RawClient.attach(host.socketOf(mdev))
    assertSuccess(await client.request(REGION_WRITE, access(7, 4, 2, u16(4)))) // Bus Master Enable
    const unsealable = fds.own(makeMemfd(0))
    ftruncateSync(unsealable, 4 * PAGE)
    const map = dmaMap({ iova: 0, size: 4 * PAGE })
    assertSuccess(await client.request(DMA_MAP, map, { fds: [unsealable] }))
    assert.equal(watcher.dma.view(0, 4).length, 4)
    const pin = watcher.dma.pin(0, 2, 'read')
    assert.throws(() => watcher.dma.pin(2 * PAGE, 1, 'read'), {
      code: 'ENOMEM',
      message: /parent watcher/,
    })
    pin.unpin()
    watcher.dma.pin(2 * PAGE, 1, 'read').unpin()
    client.close()
    await once(host.events, 'detach')
  })
})

describe('a client that maps page after page, each by itself', () => {
  function requests(first: number, count: number): Buffer {
    const maps = Array.from({ length: count }, (_, i) => dmaMap({ iova: (first + i) * 2 * PAGE }))
    return Buffer.concat(maps.map((map, i) => message(DMA_MAP, map, { id: i })))
  }

  /** Sends requests in one go. @returns how many of them were refused with ENOSPC; no other refusal is expected */
  async function send(bytes: Buffer, count: number, fd?: number): Promise<number> {
    await client.send(bytes, fd === undefined ? [] : [fd])
    const replies = await client.receive(count * 16)
    let refused = 0
    for (let at = 0; at < replies.length; at += 16) {
      const error = replies.readUInt32LE(at + 12)
      assert.ok(error === 0 || error === 28, `errno ${error}`) // ENOSPC
      if (error !== 0) refused++
    }
    return refused
  }

  // a host that logs nothing: the one of the other tests keeps a line of each refusal
  test('gets as many as were announced, then ENOSPC, and the host does not grow with what it refuses', async () => {
    using scratch = new Scratch()
    const { driver } = watcher
    const host = new Host({ driver, log: silentLogger, root: scratch.path })
    using end = new Unwind()
    end.defer(() => host.close())
    const mdev = await host.create('watcher-1', '6b6f1c2e-52a5-4b0f-9a7c-0c9f1f8d7e11')
    client.close()
    client = await RawClient.attach(host.socketOf(mdev))
    const before = resourcesOf()
    const withFile = 2000
    for (let page = 0; page < withFile; page++)
      assert.equal(await send(requests(page, 1), 1, fd), 0)
    let page = withFile
    for (; page + BATCH <= MOST_MAPS; page += BATCH)
      assert.equal(await send(requests(page, BATCH), BATCH), 0)
    assert.equal(await send(requests(page, BATCH), BATCH), page + BATCH - MOST_MAPS)
    assert.equal(watcher.dma.maps().length, MOST_MAPS)
    assert.equal(resourcesOf().shared.length, before.shared.length + 1, 'one file, mapped once')
    const { rss } = process.memoryUsage()
    const more = requests(page + BATCH, BATCH)
    for (page += BATCH; page < ATTEMPTS; page += BATCH) assert.equal(await send(more, BATCH), BATCH)
    assert.ok(process.memoryUsage().rss - rss < 128 * 2 ** 20, 'what is refused leaves nothing')
    assertSuccess(await client.request(DMA_UNMAP, dmaUnmap({ flags: ALL, iova: 0, size: 0 })))
    assert.equal(await send(requests(0, 1), 1, fd), 0)
    client.close()
    await once(host.events, 'detach')
    assert.deepEqual(watcher.dma.maps(), [])
  })
})
