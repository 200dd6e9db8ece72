/** Disks that fail under a controller: what the guest sees, and what the operator reads. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { test } from 'node:test'
import { LoopDevice } from '../../support/loop-device.ts'
import { Scratch } from '../../support/scratch.ts'
import { MIB } from './disk-guest.ts'
import { DiskStage } from './disk-stage.ts'
import { MEMORY, NvmeHost, PAGE } from './nvme-host.ts'

const [FLUSH, WRITE, READ, COMPARE, WRITE_ZEROES, DSM] = [0, 1, 2, 5, 8, 9] as const
const [GET_LOG, FORMAT] = [2, 0x80] as const
// 4.6.1: Capacity Exceeded; Write Fault; Unrecovered Read Error
const [FULL, WRITE_FAULT, READ_ERROR] = [0x81, 0x280, 0x281] as const

/** Warnings about the disk, in the log of the host. */
function warnings(stage: DiskStage): string[] {
  return stage.served.lines.filter((line) => line.includes('nvme: the disk: '))
}

/** Media errors, as the SMART log counts them. */
async function mediaErrors(host: NvmeHost): Promise<number> {
  const prp1 = host.allocate()
  await host.command({ opcode: GET_LOG, prp1, cdw10: 0x7f_0002 })
  return host.view.getUint32(prp1 - MEMORY + 160, true)
}

test('nvme on a full file system: writes fail, what was flushed is there, and room that is given back can be used', async () => {
  using scratch = new Scratch()
  const mount = `${scratch.path}/small`
  mkdirSync(mount)
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', mount])
  try {
    // 8 MiB as the guest sees it, of which 3 are there
    const path = scratch.write('small/disk.img', '')
    truncateSync(path, 8 * MIB)
    await using stage = await DiskStage.start({ sizeMib: 8, path })
    using host = await NvmeHost.ready(stage)
    const buffer = host.allocate(64 * PAGE)
    const list = host.allocate()
    for (let page = 1; page < 64; page++)
      host.view.setBigUint64(list - MEMORY + 8 * (page - 1), BigInt(buffer + page * PAGE), true)
    const quarter = { nsid: 1, prp1: buffer, prp2: list, cdw12: 511 } // of a MiB
    host.bytes(buffer, MIB / 4).fill(0xab)
    assert.equal((await host.io({ opcode: WRITE, ...quarter })).status, 0)
    assert.equal((await host.io({ opcode: FLUSH })).status, 0)
    const statuses: number[] = []
    for (let i = 1; i < 32; i++)
      statuses.push((await host.io({ opcode: WRITE, ...quarter, cdw10: 512 * i })).status)
    assert.equal(statuses[0], 0)
    assert.equal(statuses.at(-1), FULL)
    // 11 MiB / 4, or one less where the file system keeps books
    assert.ok(statuses.filter((status) => status === 0).length >= 9)
    const zeroes = { opcode: WRITE_ZEROES, cdw10: 512 * 31, cdw12: 511 }
    assert.equal((await host.io(zeroes)).status, FULL) // which keep room
    assert.equal(await mediaErrors(host), 0) // the disk is sound
    const [first] = warnings(stage)
    assert.match(first!, /the disk: ENOSPC: .*disk.img: write of \d+ KiB at 0x/)
    assert.ok(warnings(stage).length <= 6, 'less and less often')
    assert.equal((await host.io({ opcode: FLUSH })).status, 0)
    host.bytes(buffer, MIB / 4).fill(0)
    assert.equal((await host.io({ opcode: READ, ...quarter })).status, 0)
    assert.ok(host.bytes(buffer, MIB / 4).every((byte) => byte === 0xab))
    // the guest trims, and goes on
    const range = host.allocate()
    host.view.setUint32(range - MEMORY + 4, 2048, true)
    assert.equal((await host.io({ opcode: DSM, prp1: range, cdw11: 4 })).status, 0)
    assert.equal((await host.io({ opcode: WRITE, ...quarter, cdw10: 512 * 31 })).status, 0)
  } finally {
    execFileSync('umount', ['-l', mount])
  }
})

test('nvme on an image that was cut: what is gone cannot be read, written or flushed, and the rest can be read', async () => {
  await using stage = await DiskStage.start({ sizeMib: 4 })
  using host = await NvmeHost.ready(stage)
  const { path, clock, lines } = stage.setup
  const at = { nsid: 1, prp1: host.allocate() }
  const gone = { ...at, cdw10: 2048 }
  const range = host.allocate()
  host.view.setUint32(range - MEMORY + 4, 8, true)
  host.view.setUint32(range - MEMORY + 8, 2048, true)
  assert.equal((await host.io({ opcode: WRITE, ...gone })).status, 0)
  assert.equal((await host.io({ opcode: FLUSH })).status, 0)
  truncateSync(path, MIB)
  clock.advance(10)
  assert.equal((await host.io({ opcode: WRITE, ...gone })).status, WRITE_FAULT)
  assert.equal((await host.io({ opcode: READ, ...gone })).status, READ_ERROR)
  assert.equal((await host.io({ opcode: COMPARE, ...gone })).status, READ_ERROR)
  assert.equal((await host.io({ opcode: WRITE_ZEROES, cdw10: 2048 })).status, WRITE_FAULT)
  const discard = { opcode: DSM, prp1: range, cdw11: 4 }
  assert.equal((await host.io(discard)).status, WRITE_FAULT)
  assert.equal((await host.io({ opcode: FLUSH })).status, WRITE_FAULT)
  assert.equal((await host.io({ opcode: WRITE, ...at, cdw12: 1 << 30 })).status, WRITE_FAULT) // FUA
  assert.equal((await host.io({ opcode: READ, ...at })).status, 0)
  assert.equal(statSync(path).size, MIB)
  assert.equal(await mediaErrors(host), 7)
  assert.match(
    warnings(stage)[0]!,
    /disk.img: cut to 1048576 bytes, 4194304 are in use; restore it/,
  )
  assert.match(warnings(stage)[1]!, /so far: 2/)
  assert.equal(warnings(stage).length, 3) // the first, the second, the fourth
  assert.equal(lines.length, 1)
})

test('nvme on an image that was deleted: it goes on, but nothing is flushed any more', async () => {
  await using stage = await DiskStage.start({ sizeMib: 4 })
  using host = await NvmeHost.ready(stage)
  const write = { opcode: WRITE, nsid: 1, prp1: host.allocate() }
  assert.equal((await host.io(write)).status, 0)
  assert.equal((await host.io({ opcode: FLUSH })).status, 0)
  rmSync(stage.setup.path)
  assert.equal((await host.io(write)).status, 0)
  assert.equal((await host.io({ ...write, opcode: READ })).status, 0)
  const flushed = await host.io({ opcode: FLUSH })
  assert.deepEqual([flushed.status, flushed.doNotRetry], [WRITE_FAULT, false])
  assert.match(warnings(stage)[0]!, /disk.img: deleted; what is written is lost/)
})

test('nvme on a block device whose blocks are gone: reads fail, and come back with them', async () => {
  using device = new LoopDevice(4 * MIB)
  await using stage = await DiskStage.start({ sizeMib: 4, path: device.path })
  using host = await NvmeHost.ready(stage)
  const at = { nsid: 1, prp1: host.allocate(), cdw10: 4096, cdw12: 7 }
  host.bytes(at.prp1, PAGE).fill(0x77)
  assert.equal((await host.io({ opcode: WRITE, ...at })).status, 0)
  assert.equal((await host.io({ opcode: FLUSH })).status, 0)
  assert.equal(readFileSync(device.backing)[2 * MIB], 0x77)
  truncateSync(device.backing, 0)
  assert.equal((await host.io({ opcode: READ, ...at, cdw10: 6144 })).status, READ_ERROR)
  assert.ok((await mediaErrors(host)) > 0)
  truncateSync(device.backing, 4 * MIB)
  assert.equal((await host.io({ opcode: READ, ...at, cdw10: 6144 })).status, 0)
  await host.command({ opcode: FORMAT, nsid: 1 })
})
