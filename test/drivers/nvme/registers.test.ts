/** Registers: accesses of other widths, at other places, and with values that are none. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import {
  ACQ,
  AQA,
  ASQ,
  CAP,
  CC,
  CC_ENABLE,
  CFS,
  CSTS,
  INTMC,
  INTMS,
  MEMORY,
  NvmeHost,
  RDY,
  Stage,
  VS,
} from './nvme-host.ts'

const BAR = 0
const IDENTIFY = 6
/** Where doorbells start. */
const DOORBELLS = 0x1000

test('nvme gives parts of registers, and two at a time, as they lie', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  const read = async (offset: number, count: number) =>
    Buffer.from(await host.client.read(BAR, offset, count))
  const all = await read(0, 0x40)
  for (const width of [1, 2, 4, 8])
    for (let offset = 0; offset < 0x40; offset += width)
      assert.deepEqual(await read(offset, width), all.subarray(offset, offset + width))
  assert.deepEqual(await read(3, 7), all.subarray(3, 10))
  assert.equal(all.readUInt16LE(CAP), 1023) // MQES
  assert.equal(all.readUInt32LE(VS), 0x0001_0400)
  assert.equal(Number(all.readBigUInt64LE(CAP) >> 32n) & 0xf, 0) // DSTRD
})

test('nvme takes writes of 32 and 64 bits alone', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  const bar = host.client.region(BAR)
  await host.set(AQA, 0x1f_001f)
  await bar.writeU8(AQA, 0xff)
  await bar.writeU16(AQA + 2, 0xffff)
  assert.equal(await host.get(AQA), 0x1f_001f)
  await bar.writeU8(CC, 1)
  await bar.writeU16(CC, 1)
  assert.equal(await host.get(CC), 0)
  await host.set64(ASQ, 0x1234_5678_9abc_d000)
  assert.deepEqual([await host.get(ASQ), await host.get(ASQ + 4)], [0x9abc_d000, 0x1234_5678])
  // INTMC with INTMS, which are one register seen twice
  await bar.write(INTMS, Uint8Array.of(0xf0, 0, 0, 0x80, 0x10, 0, 0, 0))
  assert.deepEqual([await host.get(INTMS), await host.get(INTMC)], [0x8000_00e0, 0x8000_00e0])
})

test('nvme changes no register that is read-only, reserved, or not there', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  const all = async () => Buffer.from(await host.client.read(BAR, 0, DOORBELLS))
  const before = await all()
  const others = [CAP, CAP + 4, VS, 0x18, CSTS, 0x20]
  for (let offset = 0x38; offset < DOORBELLS; offset += 4) others.push(offset)
  for (const offset of others) await host.set(offset, 0xffff_ffff)
  assert.ok((await all()).equals(before))
  assert.equal(await host.get(DOORBELLS), 0) // which cannot be read
  await assert.rejects(host.get(0x2000), { code: 'EINVAL' })
  await host.enable()
})

test('nvme forgets low bits of where its admin queues are, and reserved ones of their sizes', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  await host.set64(ASQ, MEMORY + 0xfff)
  await host.set64(ACQ, MEMORY + 0x1001)
  await host.set(AQA, 0xf01f_f01f)
  assert.deepEqual([await host.get(ASQ), await host.get(ACQ)], [0, 0x1000])
  assert.equal(await host.get(AQA), 0x01f_001f)
})

test('nvme without sizes of its admin queues is not enabled, and says why', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.attach(stage)
  await host.set64(ASQ, MEMORY)
  await host.set64(ACQ, MEMORY)
  await host.set(CC, CC_ENABLE)
  assert.equal(await host.get(CSTS), CFS)
  assert.ok(stage.served.lines.some((line) => line.includes('admin queues of one entry')))
  // doorbells and a shutdown of what is not enabled are nothing
  for (let number = 0; number < 12; number++) host.ringAt(number, 1)
  await host.set(CC, CC_ENABLE | (1 << 14))
  await host.status(0x0c, 0x08)
  await host.enable()
  assert.equal(await host.get(CSTS), RDY)
})

test('nvme that is enabled goes on when that, and what it is enabled with, is written again', async () => {
  using stage = await Stage.start()
  using host = await NvmeHost.ready(stage)
  const identify = { opcode: IDENTIFY, prp1: host.allocate(), cdw10: 1 }
  await host.command(identify)
  await host.set(CC, CC_ENABLE)
  await host.set(CC, CC_ENABLE | (3 << 7) | (1 << 4) | (2 << 11)) // pages, commands, arbitration
  assert.equal(await host.get(CC), CC_ENABLE)
  await host.set(AQA, 0x1_0001)
  await host.set64(ASQ, 0)
  await host.set64(ACQ, 2 ** 40)
  await host.command(identify)
  assert.equal((await host.io({ opcode: 2, prp1: host.allocate() })).status, 0)
  assert.equal(await host.get(CSTS), RDY)
})
