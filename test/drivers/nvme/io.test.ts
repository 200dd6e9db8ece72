/** Commands for blocks, through mdevkit's own client: data gets where it should, over memory of either kind. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { MEMORIES, MIB, NvmeHost, PAGE, pattern, sgl, Stage } from './nvme-host.ts'

// 6, opcodes
const [FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DSM] = [0, 1, 2, 5, 8, 9] as const
const FUA = 1 << 30
/** Compare Failure. */
const MISMATCH = 0x285

for (const memory of MEMORIES) {
  describe(`nvme, ${memory} memory`, () => {
    test('writes and reads one block, one page, and as much as a transfer may have', async () => {
      using stage = await Stage.start()
      using host = await NvmeHost.ready(stage, { memory })
      const buffer = host.allocate(512 * 1024)
      const list = host.allocate()
      for (let page = 1; page < 128; page++)
        host.view.setBigUint64(
          list - host.memory.iova + 8 * (page - 1),
          BigInt(buffer + page * PAGE),
          true,
        )
      for (const [length, prp2] of [
        [512, 0],
        [PAGE, 0],
        [2 * PAGE, buffer + PAGE],
        [512 * 1024, list],
      ] as const) {
        const blocks = length / 512
        const data = pattern(length, length)
        const at = { prp1: buffer, prp2, cdw10: 1000, cdw12: blocks - 1 }
        host.bytes(buffer, length).set(data)
        assert.equal((await host.io({ opcode: WRITE, ...at })).status, 0)
        assert.deepEqual(stage.slice.bytes.subarray(512_000, 512_000 + length), data)
        host.bytes(buffer, length).fill(0)
        assert.equal((await host.io({ opcode: READ, ...at })).status, 0)
        assert.deepEqual(Buffer.from(host.bytes(buffer, length)), Buffer.from(data))
      }
    })

    test('takes PRPs that start amid a page, and lists that go on in another', async () => {
      using stage = await Stage.start()
      using host = await NvmeHost.ready(stage, { memory })
      const buffer = host.allocate(64 * PAGE)
      const lists = [host.allocate(), host.allocate()] as const
      // three entries are left in the first list, the last of which is where it goes on
      const first = lists[0] + PAGE - 24
      const entry = (at: number, value: number) =>
        host.view.setBigUint64(at - host.memory.iova, BigInt(value), true)
      entry(first, buffer + 2 * PAGE)
      entry(first + 8, buffer + 4 * PAGE)
      entry(first + 16, lists[1])
      entry(lists[1], buffer + 6 * PAGE)
      entry(lists[1] + 8, buffer + 8 * PAGE)
      const length = 4 * PAGE
      stage.slice.bytes.set(pattern(length, 5))
      const { status } = await host.io({
        opcode: READ,
        prp1: buffer + 512,
        prp2: first,
        cdw12: length / 512 - 1,
      })
      assert.equal(status, 0)
      const found = Buffer.concat([
        host.bytes(buffer + 512, PAGE - 512),
        host.bytes(buffer + 2 * PAGE, PAGE),
        host.bytes(buffer + 4 * PAGE, PAGE),
        host.bytes(buffer + 6 * PAGE, PAGE),
        host.bytes(buffer + 8 * PAGE, 512),
      ])
      assert.deepEqual(found, Buffer.from(pattern(length, 5)))
      assert.ok(host.bytes(buffer + PAGE, PAGE).every((byte) => byte === 0))
      assert.ok(host.bytes(buffer + 8 * PAGE + 512, PAGE - 512).every((byte) => byte === 0))
    })

    test('takes SGLs: a block, a segment, and segments that lead to others', async () => {
      using stage = await Stage.start()
      using host = await NvmeHost.ready(stage, { memory })
      const buffer = host.allocate(8 * PAGE)
      const segment = host.allocate()
      const last = host.allocate()
      stage.slice.bytes.set(pattern(2048, 9))
      const read = { opcode: READ, flags: 0x40, cdw12: 3 }
      assert.equal((await host.io({ ...read, sgl: sgl(0, buffer + 4, 2048) })).status, 0)
      assert.deepEqual(Buffer.from(host.bytes(buffer + 4, 2048)), Buffer.from(pattern(2048, 9)))

      const parts = [
        [buffer + 2 * PAGE + 1, 100],
        [buffer + 3 * PAGE, 1948],
      ] as const
      parts.forEach(([iova, length], i) => host.bytes(last + 16 * i, 16).set(sgl(0, iova, length)))
      const joined = () => Buffer.concat(parts.map(([iova, length]) => host.bytes(iova, length)))
      assert.equal((await host.io({ ...read, sgl: sgl(3, last, 32) })).status, 0)
      assert.deepEqual(joined(), Buffer.from(pattern(2048, 9)))

      host.bytes(buffer, 8 * PAGE).fill(0)
      host.bytes(segment, 16).set(sgl(0, buffer, 0))
      host.bytes(segment + 16, 16).set(sgl(3, last, 32))
      assert.equal((await host.io({ ...read, flags: 0x80, sgl: sgl(2, segment, 32) })).status, 0)
      assert.deepEqual(joined(), Buffer.from(pattern(2048, 9)))
    })

    test('compares', async () => {
      using stage = await Stage.start()
      using host = await NvmeHost.ready(stage, { memory })
      const buffer = host.allocate(PAGE)
      stage.slice.bytes.set(pattern(PAGE, 3), PAGE)
      host.bytes(buffer, PAGE).set(pattern(PAGE, 3))
      const compare = { opcode: COMPARE, nsid: 1, prp1: buffer, cdw10: 8, cdw12: 7 }
      assert.equal((await host.io(compare)).status, 0)
      host.bytes(buffer, PAGE)[PAGE - 1]! ^= 1
      const results = await host.run(host.queue(1), compare, { ...compare, cdw12: 6 }, compare)
      assert.deepEqual(
        results.map(({ status }) => status),
        [MISMATCH, 0, MISMATCH],
      )
    })

    test('discards ranges', async () => {
      using stage = await Stage.start()
      using host = await NvmeHost.ready(stage, { memory })
      stage.slice.bytes.fill(0xff)
      const list = host.allocate()
      const ranges = [
        [10, 2],
        [100, 0],
        [8191, 1],
      ] as const
      ranges.forEach(([start, count], i) => {
        host.view.setUint32(list - host.memory.iova + 16 * i + 4, count, true)
        host.view.setBigUint64(list - host.memory.iova + 16 * i + 8, BigInt(start), true)
      })
      const dsm = { opcode: DSM, prp1: list, cdw10: 2 }
      assert.equal((await host.io({ ...dsm, cdw11: 1 })).status, 0) // a hint about reads
      assert.deepEqual(stage.slice.calls, [])
      assert.equal((await host.io({ ...dsm, cdw11: 4 })).status, 0)
      assert.deepEqual(stage.slice.calls, ['discard 5120+1024', `discard ${4 * MIB - 512}+512`])
    })

    test('goes around its queues, with the phase turning, at full depth', async () => {
      using stage = await Stage.start()
      using host = await NvmeHost.ready(stage, { memory, pairs: 2, entries: 5 })
      const buffer = host.allocate(64 * PAGE)
      for (let round = 0; round < 9; round++) {
        const blocks = [0, 1, 2, 3].map((i) => round * 4 + i)
        for (const block of blocks) host.bytes(buffer + block * PAGE, 512).fill(block + 1)
        const writes = blocks.map((block) => ({
          opcode: WRITE,
          nsid: 1,
          prp1: buffer + block * PAGE,
          cdw10: block,
        }))
        const done = await host.run(host.queue(1 + (round % 2)), ...writes)
        assert.deepEqual(
          done.map(({ status }) => status),
          [0, 0, 0, 0],
        )
      }
      for (let block = 0; block < 36; block++)
        assert.ok(
          stage.slice.bytes
            .subarray(block * 512, block * 512 + 512)
            .every((byte) => byte === block + 1),
        )
    })
  })
}

test('nvme flushes when it is told to, and writes through where the guest wants that', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const write = { opcode: WRITE, prp1: host.allocate() }
  await host.io(write)
  assert.deepEqual(stage.slice.calls.splice(0), ['write 0+512'])
  await host.io({ opcode: FLUSH })
  await host.io({ opcode: FLUSH, nsid: 0xffff_ffff })
  assert.deepEqual(stage.slice.calls.splice(0), ['flush 0+0', 'flush 0+0'])
  await host.io({ ...write, cdw12: FUA })
  assert.deepEqual(stage.slice.calls.splice(0), ['write 0+512', 'flush 0+0'])
  await host.command({ opcode: 0x09, cdw10: 6, cdw11: 0 }) // no volatile write cache
  await host.io(write)
  assert.deepEqual(stage.slice.calls.splice(0), ['write 0+512', 'flush 0+0'])
})

test('nvme writes zeroes, more than a transfer may have, or deallocates instead', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  stage.slice.bytes.fill(0xff)
  assert.equal((await host.io({ opcode: WRITE_ZEROES, cdw10: 1, cdw12: 8190 })).status, 0)
  assert.equal((await host.io({ opcode: WRITE_ZEROES, cdw10: 0, cdw12: 1 << 25 })).status, 0)
  assert.deepEqual(stage.slice.calls, [`zero 512+${8191 * 512}`, 'discard 0+512'])
})

test('nvme has blocks of 4096 bytes where they are wanted', async () => {
  using stage = await Stage.start({ blockSize: 4096 })
  using host = await NvmeHost.ready(stage)
  const buffer = host.allocate(PAGE)
  host.bytes(buffer, PAGE).fill(7)
  assert.equal((await host.io({ opcode: WRITE, prp1: buffer, cdw10: 1023 })).status, 0)
  assert.deepEqual(stage.slice.calls, [`write ${1023 * 4096}+4096`])
  assert.equal((await host.io({ opcode: WRITE, prp1: buffer, cdw10: 1024 })).status, 0x80)
})

test('nvme hands commands that come together to the disk together', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const buffer = host.allocate()
  const reads = Array.from({ length: 20 }, (_, i) => ({
    opcode: READ,
    nsid: 1,
    prp1: buffer,
    cdw10: i,
  }))
  await host.run(host.queue(1), ...reads)
  assert.equal(stage.slice.batches, 1)
})

test('nvme says what the disk says', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const buffer = host.allocate()
  for (const [failure, read, write] of [
    ['EIO', 0x281, 0x280],
    ['ENODEV', 0x281, 0x280],
    ['ENOSPC', 0x81, 0x81],
    ['EFAULT', 0x04, 0x04],
    ['EAGAIN', 0x82, 0x82],
  ] as const) {
    stage.slice.failure = failure
    const answers = await host.run(
      host.queue(1),
      { opcode: READ, nsid: 1, prp1: buffer },
      { opcode: WRITE, nsid: 1, prp1: buffer },
      { opcode: FLUSH, nsid: 1 },
    )
    assert.deepEqual(
      answers.map(({ status, doNotRetry }) => [status, doNotRetry]),
      // the address was the guest's
      [read, write, write].map((status) => [status, failure === 'EFAULT']),
      failure,
    )
  }
})
