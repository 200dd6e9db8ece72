/** Commands that zero much of the disk: in pieces, between which they can be called off. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { until } from '../../support/until.ts'
import { DiskSetup, io, MIB, uuidOf } from './disk-guest.ts'
import { DiskStage, Gate } from './disk-stage.ts'
import { CC, CC_ENABLE, CSTS, MEMORY, NvmeHost, RDY } from './nvme-host.ts'

const [READ, WRITE_ZEROES, DSM] = [2, 8, 9] as const
const [DELETE_SQ, DELETE_CQ, ABORT, FORMAT] = [0x00, 0x04, 0x08, 0x80] as const
// 4.6.1: Command Abort Requested; Command Aborted due to SQ Deletion; Format In Progress
const [ABORTED, DELETED, FORMATTING] = [0x07, 0x08, 0x84] as const
/** Most bytes of a piece. */
const PIECE = 32 * MIB

/** Waits for the controller to ask the disk for zeros. */
async function held(host: NvmeHost, gate: Gate): Promise<void> {
  await host.until(() => gate.held.length > 0, 'the disk to be asked for zeros')
}

/** Puts the ranges of blocks of a Dataset Management command into memory. @returns the command */
function discardOf(host: NvmeHost, ranges: readonly (readonly [start: number, count: number])[]) {
  const prp1 = host.allocate()
  ranges.forEach(([start, count], i) => {
    host.view.setUint32(prp1 - MEMORY + 16 * i + 4, count, true)
    host.view.setBigUint64(prp1 - MEMORY + 16 * i + 8, BigInt(start), true)
  })
  return { opcode: DSM, nsid: 1, prp1, cdw10: ranges.length - 1, cdw11: 4 }
}

describe('a long nvme command', () => {
  test('goes in pieces of 32 MiB, and the controller answers in between', async () => {
    await using stage = await DiskStage.start({ sizeMib: 100, beforeMib: 1 })
    const gate = new Gate(stage.setup.image.file)
    using host = await NvmeHost.ready(stage)
    const format = host.command({ opcode: FORMAT, nsid: 1 })
    for (let piece = 0; piece < 4; piece++) {
      await held(host, gate)
      assert.equal((await host.io({ opcode: READ, prp1: MEMORY })).status, FORMATTING)
      gate.step()
    }
    await format
    assert.deepEqual(
      gate.seen,
      [0, 1, 2, 3].map((piece) => ({
        position: MIB + piece * PIECE,
        length: Math.min(PIECE, 100 * MIB - piece * PIECE),
      })),
    )
    assert.equal((await host.io({ opcode: READ, prp1: MEMORY })).status, 0)
  })

  for (const [name, begin] of [
    ['Format NVM', (host) => host.begin(host.admin, { opcode: FORMAT, nsid: 1 })],
    ['Dataset Management', (host) => host.begin(host.queue(1), discardOf(host, [[0, 204_800]]))],
  ] as readonly (readonly [string, (host: NvmeHost) => unknown])[]) {
    test(`${name} is given up after the piece at which the controller is disabled`, async () => {
      await using stage = await DiskStage.start({ sizeMib: 100 })
      const gate = new Gate(stage.setup.image.file)
      using host = await NvmeHost.ready(stage)
      begin(host)
      await held(host, gate)
      gate.step()
      await held(host, gate)
      await host.set(CC, 0)
      assert.equal(await host.get(CSTS), RDY) // a piece is under way
      gate.step()
      await host.status(RDY, 0)
      assert.equal(gate.seen.length, 2)
      gate.open()
      await host.enable()
      await host.createPair(1, 16)
      assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
    })
  }

  test('is given up when its queue is deleted, which then is', async () => {
    await using stage = await DiskStage.start({ sizeMib: 100 })
    const gate = new Gate(stage.setup.image.file)
    using host = await NvmeHost.ready(stage)
    const [discard] = host.begin(
      host.queue(1),
      discardOf(host, [
        [0, 8],
        [8, 204_792],
      ]),
    )
    await held(host, gate)
    gate.step()
    await held(host, gate)
    const deletion = host.command({ opcode: DELETE_SQ, cdw10: 1 })
    await host.get(CSTS)
    gate.step()
    await deletion
    assert.equal((await discard!).status, DELETED)
    assert.equal(gate.seen.length, 2)
    await host.command({ opcode: DELETE_CQ, cdw10: 1 })
  })

  test('is given up when it is aborted, and has ended before that is said', async () => {
    await using stage = await DiskStage.start({ sizeMib: 100 })
    const gate = new Gate(stage.setup.image.file)
    using host = await NvmeHost.ready(stage)
    const queue = host.queue(1)
    const [discard] = host.begin(queue, discardOf(host, [[0, 204_800]]))
    const [id] = [...queue.waiting.keys()]
    await held(host, gate)
    host.held.add(queue)
    const abort = host.command({ opcode: ABORT, cdw10: id! * 0x1_0000 + 1 })
    await host.get(CSTS)
    gate.step()
    assert.equal((await abort).result, 0)
    assert.equal(host.unread(queue), 1)
    host.held.delete(queue)
    host.reap(queue)
    const cqe = await discard!
    assert.deepEqual([cqe.status, cqe.doNotRetry], [ABORTED, false])
    assert.equal(gate.seen.length, 1)
    // there is nothing of that id any more
    assert.equal((await host.command({ opcode: ABORT, cdw10: id! * 0x1_0000 + 1 })).result, 1)
    gate.open()
    assert.equal((await host.io({ opcode: WRITE_ZEROES, cdw12: 7 })).status, 0)
  })

  test('Format NVM can be aborted, and everything can be done afterwards', async () => {
    await using stage = await DiskStage.start({ sizeMib: 100 })
    const gate = new Gate(stage.setup.image.file)
    using host = await NvmeHost.ready(stage)
    const [format] = host.begin(host.admin, { opcode: FORMAT, nsid: 1 })
    const id = [...host.admin.waiting.keys()].at(-1)!
    await held(host, gate)
    const abort = host.command({ opcode: ABORT, cdw10: id * 0x1_0000 })
    await host.get(CSTS)
    gate.open()
    assert.equal((await abort).result, 0)
    assert.equal((await format!).status, ABORTED)
    assert.equal((await host.io({ opcode: READ, prp1: host.allocate() })).status, 0)
  })

  test('ends between two pieces when its mdev is removed', async () => {
    await using stage = await DiskStage.start({ sizeMib: 100 })
    const gate = new Gate(stage.setup.image.file)
    using host = await NvmeHost.ready(stage)
    void host.begin(host.admin, { opcode: FORMAT, nsid: 1 })
    await held(host, gate)
    const closed = stage.slice.close()
    gate.step()
    await closed
    assert.equal(gate.seen.length, 1)
  })
})

test('nvme deletes a queue whose commands wait for a limit, and says that they were not done', async () => {
  await using stage = await DiskStage.start({ sizeMib: 4, limits: { bandwidth: 0, iops: 1 } })
  using host = await NvmeHost.ready(stage, { pairs: 2 })
  const read = { opcode: READ, nsid: 1, prp1: host.allocate() }
  const reads = Promise.all(host.begin(host.queue(1), ...Array.from({ length: 5 }, () => read)))
  const [other] = host.begin(host.queue(2), read)
  await host.command({ opcode: DELETE_SQ, cdw10: 1 })
  assert.deepEqual(
    (await reads).map(({ status }) => status),
    [0, ...Array.from({ length: 4 }, () => DELETED)],
  )
  // those of the other queue go on waiting
  stage.setup.clock.advance(10_000)
  assert.equal((await other!).status, 0)
})

test('nvme drops what waits for a limit when it is disabled', async () => {
  await using stage = await DiskStage.start({ sizeMib: 4, limits: { bandwidth: 0, iops: 1 } })
  using host = await NvmeHost.ready(stage)
  const buffer = host.allocate()
  const read = { opcode: READ, nsid: 1, prp1: buffer }
  void host.begin(host.queue(1), ...Array.from({ length: 8 }, () => read))
  await host.set(CC, CC_ENABLE & ~1)
  await host.status(RDY, 0)
  assert.equal(stage.setup.clock.running, 0)
  stage.setup.clock.advance(10_000)
  await host.enable()
  await host.createPair(1, 16)
  const [end] = host.begin(host.queue(1), read)
  stage.setup.clock.advance(1000)
  assert.equal((await end!).status, 0)
})

test('a disk that is closed leaves what it is wiping, after a while, to its next start', async () => {
  await using setup = new DiskSetup(40)
  const slice = setup.open(1, 40, { keep: false })
  const gate = new Gate(setup.image.file)
  const whole = [{ iova: 0, length: MIB }]
  setup.memory.fill(Buffer.alloc(MIB, 0xcc))
  await io(slice, (done) => slice.write(39 * MIB, whole, done))
  await slice.close()
  const stateOf = () => JSON.parse(readFileSync(setup.recordPath, 'utf8')).slices[0]?.state
  await until(() => gate.held.length > 0, 'the wipe to begin')
  const closed = setup.closeDisk()
  setup.clock.advance(5001)
  gate.step()
  await closed
  assert.equal(gate.seen.length, 1)
  assert.equal(stateOf(), 'wiping')
  await setup.disk.settled(uuidOf(1))
  assert.equal(stateOf(), undefined)
  assert.equal(setup.disk.free, 40 * MIB)
  assert.ok(readFileSync(setup.path).equals(Buffer.alloc(40 * MIB)))
})
