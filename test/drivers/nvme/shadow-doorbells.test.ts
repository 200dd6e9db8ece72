/** Doorbells in memory: no command is lost, and a host that is busy rings little. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Clock } from '../../../src/device/clock.ts'
import { CFS, CSTS, type Cqe, MEMORY, NvmeHost, type QueuePair, Stage } from './nvme-host.ts'

const READ = 2
const ASYNC_EVENT = 0x0c
/** Invalid Field. */
const INVALID_FIELD = 0x02

/** Reads of one block each, so many under way at a time. */
async function readAll(host: NvmeHost, queue: QueuePair, count: number, depth: number) {
  const prp1 = host.allocate()
  let next = 0
  const cqes: Cqe[] = []
  const worker = async () => {
    while (next++ < count) cqes.push(...(await host.run(queue, { opcode: READ, nsid: 1, prp1 })))
  }
  await Promise.all(Array.from({ length: depth }, worker))
  return cqes
}

for (const [when, pairs] of [
  ['before', 0],
  ['after', 2],
] as const) {
  test(`nvme finds every command, with doorbells in memory from ${when} the queues are made`, async () => {
    using stage = await Stage.start()
    using host = await NvmeHost.ready(stage, { pairs, entries: 16 })
    await host.shadow()
    for (const id of [1, 2]) if (!host.queues.has(id)) await host.createPair(id, 16)
    for (const depth of [1, 3, 15]) {
      const results = await Promise.all(
        [1, 2].map(async (id) => readAll(host, host.queue(id), 200, depth)),
      )
      for (const cqes of results) {
        assert.equal(cqes.length, 200)
        assert.ok(cqes.every(({ status }) => status === 0))
      }
    }
    assert.equal(stage.slice.calls.length, 1200)
  })
}

/** On which a look at the doorbells follows the one before at once, and a ring each millisecond. */
function hastyClock(): Clock {
  let now = 0
  return {
    now: () => ++now,
    after(ms, action) {
      const immediate = setImmediate(() => {
        now += ms
        action()
      })
      return () => clearImmediate(immediate)
    },
  }
}

test('nvme that is kept busy asks for few rings', async () => {
  using stage = await Stage.start({ clock: hastyClock() })
  using host = await NvmeHost.ready(stage, { entries: 64 })
  const queue = host.queue(1)
  await readAll(host, queue, 500, 8)
  const usual = host.rings
  await host.shadow()
  host.rings = 0
  await readAll(host, queue, 500, 8)
  assert.ok(host.rings < usual / 4, `${host.rings} rings, ${usual} without`)
})

test('nvme has the host ring after it was idle', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await host.shadow()
  for (let round = 0; round < 40; round++) {
    await host.io({ opcode: READ, prp1: MEMORY })
    // round trips, in which it stops looking
    for (let i = 0; i < 2 * round; i++) await host.get(0)
  }
})

test('nvme finds a tail in memory that its queue does not have, tells of it, and takes the next right one', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await host.shadow()
  const [event] = host.begin(host.admin, { opcode: ASYNC_EVENT })
  const { values } = host.shadows!
  host.view.setUint32(values + 8 - MEMORY, 64, true)
  host.client.region(0).postU32(0x1008, 64)
  assert.equal((await event!).result, 0x01_0100)
  host.view.setUint32(values + 8 - MEMORY, 0, true)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme has the host ring for what waits for room, however little the host takes at a time', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage, { pairs: 0 })
  const queue = await host.createPair(1, 64, 16)
  host.held.add(queue)
  await host.shadow()
  const count = 40
  const prp1 = host.allocate()
  void host.begin(queue, ...Array.from({ length: count }, () => ({ opcode: READ, nsid: 1, prp1 })))
  await host.until(
    () => stage.slice.calls.length === count && stage.slice.underWay === 0,
    'all reads to end at the disk',
  )
  for (let taken = 0; taken < count; taken += 2) {
    await host.get(CSTS)
    const there = Math.min(15, count - taken)
    assert.equal(host.unread(queue), there, `after ${taken}`)
    queue.head = (queue.head + 2) % queue.completions
    if (queue.head === 0) queue.phase ^= 1
    host.ringAt(2 * queue.id + 1, queue.head)
  }
})

test('nvme is fatally stuck where doorbells were in memory that has gone, until it is reset', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const other = await host.client.map(2 ** 41, 8192)
  await host.command({ opcode: 0x7c, prp1: 2 ** 41, prp2: 2 ** 41 + 4096 })
  await other.unmap()
  host.ring(host.queue(1), 1)
  await host.status(2, 2)
  await host.enable()
  await host.createPair(1, 16)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme is fatally stuck where doorbells were in memory that is not shared any more', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const place = 2 ** 41
  const other = await host.client.map(place, 8192)
  await host.command({ opcode: 0x7c, prp1: place, prp2: place + 4096 })
  await other.unmap()
  const unshared = await host.client.map(place, 8192, { shared: false })
  host.ring(host.queue(1), 1)
  await host.status(CFS, CFS)
  await unshared.unmap()
  await host.enable()
  await host.createPair(1, 16)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme takes no doorbells from memory that it would have to ask for', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage, { memory: 'message' })
  const [prp1, prp2] = [host.allocate(), host.allocate()]
  assert.equal((await host.try({ opcode: 0x7c, prp1, prp2 })).status, INVALID_FIELD)
  assert.equal((await host.io({ opcode: READ, prp1 })).status, 0)
})
