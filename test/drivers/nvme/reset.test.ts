/** Disabling, resetting, shutting down, and deleting queues, with commands under way. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Clock, systemClock } from '../../../src/lib/clock.ts'
import { FakeClock } from '../../support/fake-clock.ts'
import {
  ACQ,
  AQA,
  ASQ,
  CC,
  CC_ENABLE,
  CSTS,
  MEMORIES,
  NvmeHost,
  PAGE,
  pattern,
  RDY,
  Stage,
} from './nvme-host.ts'
import { until } from '../../support/until.ts'

const [WRITE, READ, COMPARE] = [1, 2, 5] as const
const SHUTDOWN_OCCURRING = 0x04
const SHUTDOWN_COMPLETE = 0x08

/** Commands that the disk has begun, into memory that says so if it changes. */
async function busy(stage: Stage, host: NvmeHost, count: number): Promise<number> {
  const buffer = host.allocate(count * PAGE)
  host.bytes(buffer, count * PAGE).fill(0xee)
  stage.slice.bytes.set(pattern(count * PAGE, 1))
  stage.slice.hold()
  for (let i = 0; i < count; i++)
    host.put(host.queue(1), {
      opcode: READ,
      nsid: 1,
      prp1: buffer + i * PAGE,
      cdw10: i * 8,
      cdw12: 7,
    })
  host.ring(host.queue(1))
  await until(async () => {
    await host.get(CSTS)
    assert.equal(stage.slice.underWay, count)
  })
  return buffer
}

test('nvme is not ready again until the disk uses no memory of the guest that disabled it', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await busy(stage, host, 10)
  const { completion } = host.queue(1)
  await host.set(CC, 0)
  for (let i = 0; i < 20; i++) assert.equal(await host.get(CSTS), RDY)
  stage.slice.free()
  await host.status(RDY, 0)
  assert.ok(
    host.bytes(completion, 1024).every((byte) => byte === 0),
    'commands were completed',
  )
  // nothing more happens in memory
  const before = Buffer.from(host.memory.bytes)
  await host.get(CSTS)
  assert.ok(before.equals(host.memory.bytes))
  await host.enable()
  await host.createPair(1, 16)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme that is enabled before it was seen disabled becomes ready when the disk is', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await busy(stage, host, 3)
  await host.set(CC, 0)
  await host.set(CC, CC_ENABLE)
  stage.slice.free()
  await host.status(RDY, RDY)
  host.admin.tail = 0
  host.admin.head = 0
  host.admin.phase = 1
  host.bytes(host.admin.completion, PAGE).fill(0)
  await host.command({ opcode: 6, prp1: host.allocate(), cdw10: 1 })
})

test('nvme begins nothing on the disk for a guest that has disabled it while its memory was asked for', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage, 'message')
  for (let turns = 0; turns < 10; turns++) {
    await host.enable()
    const queue = await host.createPair(1, 16)
    host.put(queue, { opcode: COMPARE, nsid: 1, prp1: host.allocate(), cdw12: 7 })
    host.ring(queue)
    for (let i = 0; i < turns; i++) await host.get(CSTS)
    await host.disable()
    const { length } = stage.slice.calls
    for (let i = 0; i < 10; i++) await host.get(CSTS)
    assert.equal(stage.slice.calls.length, length, `after ${turns} turns`)
    assert.equal(stage.slice.underWay, 0)
  }
})

test('nvme that is reset by the client starts from nothing, once the disk is done', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await busy(stage, host, 3)
  let isReset = false
  const reset = host.client.reset().then(() => (isReset = true))
  await until(() => stage.slice.quiescing > 0, 'the disk to be quiesced')
  assert.equal(isReset, false)
  stage.slice.free()
  await reset
  for (const register of [CC, CSTS, 0x24, 0x28, 0x2c, 0x30, 0x34])
    assert.equal(await host.get(register), 0)
  await host.masterBus(true)
  await host.enable()
  await host.createPair(1, 16)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

test('nvme that is reset while the disk hangs answers after 3 s, and is ready once the disk is', async () => {
  const clock = new FakeClock()
  const patience: Clock = {
    after: (ms, action) => clock.after(ms, action),
    every: (ms, action) => systemClock.every(ms, action),
  }
  using stage = await Stage.start({ patience })
  using host = await NvmeHost.ready(stage)
  await busy(stage, host, 3)
  let isReset = false
  const reset = host.client.reset().then(() => (isReset = true))
  await until(() => clock.running > 0, 'somebody to wait for the disk', { pauseMs: 0 })
  clock.advance(2999)
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve))
  assert.equal(isReset, false)
  clock.advance(1)
  await reset
  await host.masterBus(true)
  await host.set(AQA, 0x1f_001f)
  await host.set64(ASQ, host.admin.submission)
  await host.set64(ACQ, host.admin.completion)
  await host.set(CC, CC_ENABLE)
  for (let i = 0; i < 5; i++) assert.equal(await host.get(CSTS), 0)
  stage.slice.free()
  await host.status(RDY, RDY)
  await host.enable()
  await host.createPair(1, 16)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
  // one that does not have to wait leaves nothing behind
  await host.client.reset()
  assert.equal(clock.running, 0)
})

test('nvme forgets a guest that went while the disk was busy', async () => {
  using stage = await Stage.start()
  {
    using host = await NvmeHost.ready(stage)
    await busy(stage, host, 3)
  }
  stage.slice.free()
  await stage.served.idle()
  using host = await NvmeHost.ready(stage)
  assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
})

for (const memory of MEMORIES) {
  test(`nvme asserts its pin for the first completion after a reset, whatever was unread, ${memory} memory`, async () => {
    using stage = await Stage.start()
    using host = await NvmeHost.attach(stage, memory)
    for (const count of [3, 1]) {
      await host.enable()
      const queue = await host.createPair(1, 16)
      host.held.add(queue)
      const read = { opcode: READ, nsid: 1, prp1: host.allocate() }
      assert.equal(await pin(host), false)
      void host.begin(queue, ...Array.from({ length: count }, () => read))
      await until(async () => {
        await host.get(CSTS)
        assert.equal(host.unread(queue), count)
      })
      // by message, an interrupt comes once the entry is known to be there
      await until(() => pin(host), 'the pin to be asserted')
    }
  })
}

/** Interrupt Status, of the PCI Status register. */
async function pin(host: NvmeHost): Promise<boolean> {
  return ((await host.client.readRegister(7, 6, 2)) & 0x08) !== 0
}

test('nvme has flushed when its shutdown is complete', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await host.io({ opcode: WRITE, prp1: host.allocate() })
  for (const how of [1, 2]) {
    stage.slice.calls.length = 0
    await host.set(CC, CC_ENABLE | (how << 14))
    await host.status(0x0c, SHUTDOWN_COMPLETE)
    assert.deepEqual(stage.slice.calls, ['flush 0+0'])
    await host.enable()
    assert.equal(await host.get(CSTS), RDY)
  }
})

test('nvme whose shutdown is asked for again has flushed again when that is complete', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  stage.slice.hold()
  await host.set(CC, CC_ENABLE | (1 << 14))
  const free = stage.slice.takeHeld()
  await host.set(CC, CC_ENABLE)
  stage.slice.hold()
  await host.set(CC, CC_ENABLE | (1 << 14))
  free()
  await until(async () => {
    await host.get(CSTS)
    assert.equal(stage.slice.underWay, 1)
  })
  for (let i = 0; i < 5; i++) assert.equal((await host.get(CSTS)) & 0x0c, SHUTDOWN_OCCURRING)
  stage.slice.free()
  await host.status(0x0c, SHUTDOWN_COMPLETE)
})

test('nvme deletes a queue once its commands have ended', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  await busy(stage, host, 4)
  let deleted = false
  const deletion = host.command({ opcode: 0x00, cdw10: 1 }).then(() => (deleted = true))
  await host.command({ opcode: 6, prp1: host.allocate(), cdw10: 1 })
  assert.equal(deleted, false)
  // what comes meanwhile is not taken
  host.put(host.queue(1), { opcode: READ, nsid: 1 })
  host.ring(host.queue(1))
  stage.slice.free()
  await deletion
  assert.equal(host.queue(1).head, 4)
  assert.equal(stage.slice.calls.length, 4)
  await host.command({ opcode: 0x04, cdw10: 1 })
})

test('nvme keeps what does not fit into a completion queue until there is room', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage, { pairs: 0 })
  const queue = await host.createPair(1, 64, 4)
  host.held.add(queue)
  const prp1 = host.allocate()
  const blocks = Array.from({ length: 10 }, (_, block) => block)
  const ends = host.begin(queue, ...blocks.map((cdw10) => ({ opcode: READ, nsid: 1, prp1, cdw10 })))
  await host.until(
    () => stage.slice.calls.length === blocks.length && stage.slice.underWay === 0,
    'all reads to end at the disk',
  )
  const found: number[] = []
  const take = () => {
    // one entry always stays free
    assert.ok(host.unread(queue) <= 3)
    found.push(...host.reap(queue).map(({ id }) => id))
    return found.length >= blocks.length
  }
  await host.until(take, 'all completions to come')
  assert.deepEqual(found, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
  await Promise.all(ends)
})
