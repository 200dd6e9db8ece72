/** BARs that a guest maps: it stores and loads, and neither registers nor messages are involved. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, beforeEach, test } from 'node:test'
import { Host } from '../../src/host/host.ts'
import { qemuArguments } from '../../src/host/vmm-arguments.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { Scratch } from '../support/scratch.ts'
import { MappedCard } from './fixtures/mapped-card.ts'

const SLOT = '/sys/bus/pci/devices/0000:00:01.0'

const scratch = new Scratch()
const card = new MappedCard()
let host: Host
let mdev: MdevDevice
let guest: Guest
/** Where the guest has placed the BARs. */
let base: readonly string[]

before(async () => {
  const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  host = new Host({ driver: card.driver, log: silentLogger, root: scratch.path })
  mdev = await host.create('mapped-card-1', freshUuid())
  guest = await bootGuest({
    assets,
    init: shellInit,
    sharedMemory: false,
    devices: qemuArguments(host.socketOf(mdev)),
  })
  const { output } = await guest.run(`cut -d' ' -f1 ${SLOT}/resource`)
  base = output.trim().split('\n')
})
after(async () => {
  await guest?.stop()
  host?.close()
  scratch[Symbol.dispose]()
})
beforeEach(() => {
  card.log.length = 0
})

/** Messages that reached a region. */
function accesses(): number {
  const { server } = host.statsOf(mdev)
  return (server?.regionReads ?? 0) + (server?.regionWrites ?? 0)
}

/** Runs `devmem` in the guest for each line: BAR, offset, width in bits, and for stores a value. @returns what it printed */
async function devmem(...lines: readonly (readonly [number, number, number, string?])[]) {
  const commands = lines.map(
    ([bar, offset, bits, value = '']) => `devmem $((${base[bar]} + ${offset})) ${bits} ${value}`,
  )
  const { output, status } = await guest.run(commands.join('; '))
  assert.equal(status, 0)
  return output.trim().split('\n')
}

function bytesOf(bar: number): Buffer {
  const { buffer, byteOffset, length } = card.memories.get(bar)!.bytes
  return Buffer.from(buffer, byteOffset, length)
}

/** BAR, an offset in it, and what of the BAR it is. */
const PLACES = [
  [2, 0, 'the start of a 64-bit prefetchable BAR'],
  [2, 0xf_fff8, 'its end'],
  [1, 0, 'the start of a BAR smaller than a page'],
  [1, 0xf8, 'its end'],
  [0, 0x1000, 'the first mapped page of a BAR with registers'],
  [0, 0x7ff8, 'its end'],
  [4, 0x1ff8, 'what is before the MSI-X table'],
  [4, 0x3000, 'what is behind it'],
] as const

for (const [bar, offset, title] of PLACES) {
  test(`a guest and its device share ${title}, without a message`, async () => {
    const bytes = bytesOf(bar)
    const before = accesses()
    await devmem(
      [bar, offset, 32, '0x01234567'],
      [bar, offset + 4, 16, '0x89ab'],
      [bar, offset + 6, 8, '0xcd'],
    )
    assert.equal(bytes.readUInt32LE(offset), 0x0123_4567)
    assert.equal(bytes.readUInt16LE(offset + 4), 0x89ab)
    assert.equal(bytes[offset + 6], 0xcd)
    await devmem([bar, offset, 64, '0x1122334455667788'])
    assert.equal(bytes.readBigUInt64LE(offset), 0x1122_3344_5566_7788n)

    bytes.writeUInt32LE(0xfedc_ba98, offset)
    assert.deepEqual(await devmem([bar, offset, 32], [bar, offset + 1, 8], [bar, offset + 2, 16]), [
      '0xFEDCBA98',
      '0xBA',
      '0xFEDC',
    ])
    assert.equal(accesses(), before)
    assert.deepEqual(card.log, [])
  })
}

test('registers and doorbells beside mapped pages are reached by messages', async () => {
  const before = accesses()
  const memory = bytesOf(0)
  memory.fill(0x77, 0, 0x1000)
  assert.deepEqual(await devmem([0, 0x10, 32]), ['0xABCD0010'])
  await devmem([0, 0x18, 16, '0x1234'], [0, 0x20, 32, '0xcafe'], [0, 0x20, 16, '0xbeef'])
  assert.deepEqual(card.log, ['r 0x10 4', 'w 0x18 2 0x1234', 'ring 0xcafe', 'w 0x20 2 0xbeef'])
  assert.equal(accesses() - before, 4)
  assert.deepEqual(memory.subarray(0, 0x1000), Buffer.alloc(0x1000, 0x77))
})

test('the MSI-X table is QEMU’s and the pending bits are ours, in the middle of mapped memory', async () => {
  const memory = bytesOf(4)
  memory.fill(0x77)
  assert.deepEqual(await devmem([4, 0x2000 + 12, 32]), ['0x00000001']) // masked
  assert.deepEqual(await devmem([4, 0x2800, 32]), ['0x00000000'])
  await devmem([4, 0x2000, 32, '0xfee00000'])
  assert.deepEqual(memory, Buffer.alloc(0x4000, 0x77))
  assert.deepEqual(card.log, [])
  const { output } = await guest.run('lspci -vvv -n -d 1b36:be14 2>/dev/null')
  assert.match(output, /Vector table: BAR=4 offset=00002000\n\s+PBA: BAR=4 offset=00002800/)
})

test('lspci shows the BARs as they are', async () => {
  const { output } = await guest.run('lspci -vvv -n -d 1b36:be14 2>/dev/null')
  const regions = output.match(/Region .*/g)?.map((line) => line.replace(/at \w+/, 'at …'))
  assert.deepEqual(regions, [
    'Region 0: Memory at … (32-bit, non-prefetchable) [size=32K]',
    'Region 1: Memory at … (32-bit, non-prefetchable) [size=256]',
    'Region 2: Memory at … (64-bit, prefetchable) [size=1M]',
    'Region 4: Memory at … (32-bit, non-prefetchable) [size=16K]',
  ])
})

test('a guest goes: QEMU had nothing to complain of, and the memory is ours alone, as it was', async () => {
  const bytes = bytesOf(2)
  bytes.writeUInt32LE(7, 0)
  const detached = once(host.events, 'detach')
  await guest.qmp('quit')
  const { code, stderr } = await guest.exited
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
  await detached
  assert.equal(bytes.readUInt32LE(0), 7)
})
