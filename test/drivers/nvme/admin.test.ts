/** What a controller tells of itself and lets be set, by the figures of the specification. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { MEMORIES, NvmeHost, PAGE, Stage } from './nvme-host.ts'

const UUID = '83c32df7-d7a5-4d9e-8c3a-6c0a4a2b1f0e' // of Served
const [GET_LOG, IDENTIFY, SET_FEATURES, GET_FEATURES, FORMAT] = [2, 6, 9, 10, 0x80] as const
const [WRITE, READ] = [1, 2] as const

async function identify(host: NvmeHost, cns: number, nsid: number): Promise<Buffer> {
  const prp1 = host.allocate()
  await host.command({ opcode: IDENTIFY, nsid, prp1, cdw10: cns })
  return Buffer.from(host.bytes(prp1, PAGE))
}

/** @param size bytes */
async function log(host: NvmeHost, id: number, size: number, offset = 0): Promise<Buffer> {
  const prp1 = host.allocate(2 * PAGE)
  host.bytes(prp1, 2 * PAGE).fill(0xee)
  const cdw10 = (size / 4 - 1) * 0x1_0000 + id
  await host.command({ opcode: GET_LOG, prp1, prp2: prp1 + PAGE, cdw10, cdw12: offset })
  return Buffer.from(host.bytes(prp1, size))
}

for (const memory of MEMORIES) {
  test(`nvme, ${memory} memory: identifies itself, its namespace, and where to find it`, async () => {
    using stage = await Stage.start({ serial: 'SERIAL 1', blockSize: 4096, readOnly: true })
    using host = await NvmeHost.ready(stage, { memory })
    const controller = await identify(host, 1, 0)
    assert.equal(controller.readUInt16LE(0), 0x1b36)
    assert.equal(controller.toString('ascii', 4, 24), 'SERIAL 1'.padEnd(20))
    assert.equal(controller.toString('ascii', 24, 64), 'mdevkit NVMe'.padEnd(40))
    assert.equal(controller.readUInt32LE(80), 0x0001_0400)
    assert.equal(controller.readUInt8(77), 7) // 512 KiB
    assert.equal(controller.readUInt8(512), 0x66)
    assert.equal(controller.readUInt8(513), 0x44)
    assert.equal(controller.readUInt32LE(516), 1)
    assert.match(
      controller.toString('ascii', 768, 1024),
      new RegExp(`^nqn.2014-08.org.nvmexpress:uuid:${UUID}\0+$`),
    )
    const namespace = await identify(host, 0, 1)
    assert.equal(namespace.readBigUInt64LE(0), 1024n)
    assert.equal(namespace.readUInt8(99), 1) // write protected
    assert.equal(namespace.readUInt8(130), 12) // blocks of 4096
    assert.deepEqual([...(await identify(host, 2, 0)).subarray(0, 8)], [1, 0, 0, 0, 0, 0, 0, 0])
    assert.ok((await identify(host, 2, 1)).every((byte) => byte === 0))
    const descriptors = await identify(host, 3, 1)
    assert.deepEqual([...descriptors.subarray(0, 4)], [3, 16, 0, 0])
    assert.equal(descriptors.toString('hex', 4, 20), UUID.replaceAll('-', ''))
    assert.equal(descriptors.readUInt8(21), 0)
  })
}

test('nvme counts what it does, and errors of the disk, in the SMART log', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const prp1 = host.allocate()
  for (let i = 0; i < 3; i++) await host.io({ opcode: WRITE, prp1, cdw12: 7 })
  await host.io({ opcode: READ, prp1, cdw12: 7 })
  stage.slice.failure = 'EIO'
  await host.io({ opcode: READ, prp1 })
  const smart = await log(host, 2, 512)
  assert.deepEqual(
    [32, 48, 64, 80, 160, 176].map((offset) => Number(smart.readBigUInt64LE(offset))),
    [1, 1, 1, 3, 1, 1], // data units are rounded up
  )
  assert.equal(smart.readUInt16LE(1), 313)
})

test('nvme keeps the last 64 errors, the newest first', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  for (let block = 0; block < 70; block++)
    await host.io({ opcode: READ, prp1: host.memory.iova + 1, cdw10: block }) // amid a dword
  const errors = await log(host, 1, 64 * 64)
  for (let entry = 0; entry < 64; entry++) {
    const at = entry * 64
    assert.equal(Number(errors.readBigUInt64LE(at)), 70 - entry)
    assert.equal(errors.readUInt16LE(at + 8), 1) // queue
    assert.equal((errors.readUInt16LE(at + 12) >> 1) & 0x7ff, 0x13)
    assert.equal(Number(errors.readBigUInt64LE(at + 16)), 69 - entry)
  }
})

test('nvme gives parts of a log, and nothing beyond its end', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const effects = await log(host, 5, PAGE)
  assert.equal(effects.readUInt32LE(4 * IDENTIFY), 1)
  assert.equal(effects.readUInt32LE(1024 + 4 * WRITE), 3)
  assert.deepEqual(await log(host, 5, 64, 1024), effects.subarray(1024, 1088))
  const slots = await log(host, 3, 1024)
  assert.equal(slots.toString('ascii', 8, 16), '1.0     ')
  assert.ok(slots.subarray(512).every((byte) => byte === 0xee))
  assert.ok((await log(host, 4, PAGE)).every((byte) => byte === 0))
})

test('nvme keeps features until it is reset, and says which it has', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  await host.enable()
  const get = async (id: number, cdw11 = 0) =>
    (await host.command({ opcode: GET_FEATURES, cdw10: id, cdw11 })).result
  const set = async (id: number, cdw11: number) =>
    (await host.command({ opcode: SET_FEATURES, cdw10: id, cdw11 })).result
  assert.equal(await set(7, 0x0001_0063), 0x0001_0003) // 100 and 2 asked for, 4 and 2 given
  assert.equal(await get(7), 0x0001_0003)
  for (const [id, value, initial] of [
    [1, 3, 7],
    [4, 300, 343],
    [6, 0, 1],
    [8, 0x0a04, 0],
    [10, 1, 0],
    [11, 0x1f, 0],
  ] as const) {
    assert.equal(await get(id), initial, `feature ${id}`)
    await set(id, value)
    assert.equal(await get(id), value)
    assert.equal(await get(0x100 + id), initial)
    assert.equal(await get(0x300 + id), 4) // changeable
  }
  await set(9, 0x1_0002)
  assert.deepEqual([await get(9, 1), await get(9, 2)], [1, 0x1_0002])
  await host.enable()
  assert.equal(await get(6), 1)
  assert.equal(await get(9, 2), 2)
})

test('nvme has one feature of its namespace, and says of each whose it is', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const [ERROR_RECOVERY, WRITE_CACHE, DULBE] = [5, 6, 1 << 16]
  const EVERY = 0xffff_ffff
  const [INVALID_FIELD, INVALID_NAMESPACE, NOT_OF_NAMESPACE] = [0x02, 0x0b, 0x10f]
  const get = async (id: number, nsid: number) =>
    host.try({ opcode: GET_FEATURES, cdw10: id, nsid })
  const set = async (id: number, nsid: number, cdw11: number) =>
    (await host.try({ opcode: SET_FEATURES, cdw10: id, nsid, cdw11 })).status
  for (const [nsid, value] of [
    [1, 17],
    [EVERY, 18],
  ] as const) {
    assert.equal(await set(ERROR_RECOVERY, nsid, value), 0)
    assert.equal((await get(ERROR_RECOVERY, 1)).result, value)
  }
  assert.equal((await get(0x100 + ERROR_RECOVERY, 1)).result, 0)
  assert.equal((await get(0x300 + ERROR_RECOVERY, 1)).result, 6) // changeable, of a namespace
  for (const nsid of [0, 2, EVERY])
    assert.equal((await get(ERROR_RECOVERY, nsid)).status, INVALID_NAMESPACE)
  for (const nsid of [0, 2]) assert.equal(await set(ERROR_RECOVERY, nsid, 0), INVALID_NAMESPACE)
  assert.equal(await set(ERROR_RECOVERY, 1, DULBE), INVALID_FIELD)
  assert.equal(await set(WRITE_CACHE, EVERY, 1), 0)
  assert.equal(await set(WRITE_CACHE, 1, 0), NOT_OF_NAMESPACE)
  assert.equal(await set(WRITE_CACHE, 2, 0), INVALID_NAMESPACE)
  assert.equal((await get(WRITE_CACHE, 1)).result, 1)
})

test('nvme warns of its temperature, which is constant, by both thresholds', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const [TEMPERATURE, LOWER, SENSOR_1, ALL_SENSORS] = [4, 1 << 20, 1 << 16, 0xf << 16]
  const get = async (cdw11: number) => host.try({ opcode: GET_FEATURES, cdw10: TEMPERATURE, cdw11 })
  const set = async (cdw11: number) =>
    (await host.try({ opcode: SET_FEATURES, cdw10: TEMPERATURE, cdw11 })).status
  const warns = async () => ((await log(host, 2, 512))[0]! & 2) !== 0
  assert.equal(await warns(), false)
  for (const [value, warning] of [
    [313, true],
    [314, false],
    [LOWER | 313, true],
    [LOWER | 312, false],
    [ALL_SENSORS | 300, true],
  ] as const) {
    assert.equal(await set(value), 0)
    assert.equal((await get(value & LOWER)).result, value & 0xffff)
    assert.equal(await warns(), warning, `${value}`)
  }
  for (const wrong of [SENSOR_1, 2 * LOWER]) {
    assert.equal(await set(wrong), 2)
    assert.equal((await get(wrong)).status, 2)
  }
  assert.equal((await get(ALL_SENSORS)).status, 2)
})

test('nvme keeps the host’s identifier, and its time', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const prp1 = host.allocate()
  host.bytes(prp1, 16).set(Array.from({ length: 16 }, (_, index) => index + 1))
  await host.command({ opcode: SET_FEATURES, cdw10: 0x81, cdw11: 1, prp1 })
  host.bytes(prp1, 16).fill(0)
  await host.command({ opcode: GET_FEATURES, cdw10: 0x81, prp1 })
  assert.deepEqual([...host.bytes(prp1, 9)], [1, 2, 3, 4, 5, 6, 7, 8, 0])
  await host.command({ opcode: GET_FEATURES, cdw10: 0x0e, prp1 })
  assert.equal(host.bytes(prp1, 8)[6], 0) // set by nobody
  host.bytes(prp1, 8).set([0, 0, 0, 0, 1, 0, 0, 0])
  await host.command({ opcode: SET_FEATURES, cdw10: 0x0e, prp1 })
  await host.command({ opcode: GET_FEATURES, cdw10: 0x0e, prp1 })
  assert.deepEqual([host.bytes(prp1, 8)[4], host.bytes(prp1, 8)[6]], [1, 2])
})

test('nvme formats: all is zeros, and nothing else is done meanwhile', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  stage.slice.bytes.fill(0xff)
  stage.slice.hold()
  const format = host.command({ opcode: FORMAT, nsid: 1, cdw10: 1 << 9 })
  await host.until(() => stage.slice.calls.length > 0, 'the disk to be asked for zeros')
  const prp1 = host.allocate()
  const early = await host.io({ opcode: READ, prp1 })
  assert.deepEqual([early.status, early.doNotRetry], [0x84, false]) // Format In Progress
  stage.slice.free()
  await format
  assert.ok(stage.slice.bytes.every((byte) => byte === 0))
  assert.equal((await host.io({ opcode: READ, prp1 })).status, 0)
})
