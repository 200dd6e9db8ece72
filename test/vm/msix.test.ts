/** A card with several MSI-X vectors, of which Linux's virtio driver takes two: each interrupts by itself, and can be masked. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { Scratch } from '../support/scratch.ts'
import { VirtioEntropy } from './fixtures/virtio-entropy.ts'
import { GuestCard } from './guest-card.ts'

/** The vector of each, as Linux's virtio_pci_common.c gives them out. */
const VECTORS = { config: 0, input: 1 } as const
/** Bytes of several buffers; Linux's virtio-rng.c has 64 in each. */
const READ = 256
/** Where the pending bits are. */
const PENDING = 0x800
/** Memory that Linux leaves alone. */
const TARGET = 0x800_0000

/** A field of a vector's entry in the table. PCI Local Bus 3.0, 6.8.2.6 */
function entry(vector: number, field: 0 | 4 | 8 | 12): number {
  return 16 * vector + field
}

const scratch = new Scratch()
const entropy = new VirtioEntropy()
let host: Host
let guest: Guest
let card: GuestCard

before(async () => {
  const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  host = new Host({ driver: entropy.driver, log: silentLogger, root: scratch.path })
  const mdev = await host.create('virtio-entropy-1', freshUuid())
  guest = await bootGuest({
    assets,
    init: shellInit,
    modules: ['virtio-rng'],
    extraKernelArgs: [`memmap=1M$${TARGET}`],
    devices: ['-device', vfioUserDevice(host.socketOf(mdev))],
  })
  card = await GuestCard.find(guest, '0000:00:01.0')
})
after(async () => {
  await guest?.stop()
  host?.close()
  scratch[Symbol.dispose]()
})
/** How often the guest's driver was interrupted by a vector. */
async function interrupts(name: 'config' | 'input'): Promise<number> {
  const { output } = await guest.run(`grep 'virtio0-${name}$' /proc/interrupts`)
  assert.match(output, new RegExp(`PCI-MSIX-0000:00:01.0 +${VECTORS[name]}-edge`))
  return Number(/: *(\d+)/.exec(output)?.[1])
}

/** Waits in the guest until its driver was interrupted so often for its configuration. */
async function configInterrupts(count: number): Promise<void> {
  await guest.run(`until grep -q ': *${count} .*virtio0-config$' /proc/interrupts; do :; done`)
}

/** Has the card fill buffers, each of which it tells of by the vector of its queue. */
async function readEntropy(): Promise<readonly number[]> {
  const { output } = await guest.run(`head -c ${READ} /dev/hwrng | od -An -v -tu1`)
  return output.trim().split(/\s+/).map(Number)
}

test('a guest’s driver takes a vector for its queue and one for its configuration', async () => {
  const before = await interrupts('input')
  const bytes = await readEntropy()
  assert.equal(bytes.length, READ)
  // the kernel, too, takes some of it at any time, in whole buffers
  const steps = bytes.slice(1).map((byte, index) => (byte - bytes[index]! + 256) % 64)
  assert.deepEqual(
    steps,
    Array.from({ length: READ - 1 }, () => 1),
  )
  assert.ok((await interrupts('input')) > before)
  assert.equal(await interrupts('config'), 0)

  for (let count = 1; count <= 3; count++) {
    entropy.vectors[0]!.trigger()
    await configInterrupts(count)
  }
})

test('a vector that the guest has masked interrupts once it is unmasked, and no other is held back', async () => {
  const count = await interrupts('config')
  const control = entry(0, 12)
  await card.write(4, control, 1)
  entropy.vectors[0]!.trigger()
  const before = await interrupts('input')
  await readEntropy()
  assert.ok((await interrupts('input')) > before)
  assert.equal(await interrupts('config'), count)
  await card.write(4, control, 0)
  await configInterrupts(count + 1)
})

test('a vector that the guest has not yet unmasked is pending until it is', async () => {
  for (const [vector, data] of [
    [2, 0x1234_5678],
    [3, 0xabcd],
  ] as const) {
    assert.equal(await card.read(4, PENDING), 0)
    entropy.vectors[vector]!.trigger()
    assert.equal(await card.read(4, PENDING), 1 << vector)
    // no interrupt controller is there, so that the message itself can be seen
    await card.write(4, entry(vector, 0), TARGET + 4 * vector)
    await card.write(4, entry(vector, 4), 0)
    await card.write(4, entry(vector, 8), data)
    await card.write(4, entry(vector, 12), 0)
    const read = `devmem $((${TARGET} + 4 * ${vector})) 32`
    await guest.run(`until [ $(($(${read}))) = ${data} ]; do :; done`)
    assert.equal(await card.read(4, PENDING), 0)
  }
})

test('a driver that let go of its vectors and takes them again is interrupted as before', async () => {
  const driver = '/sys/bus/pci/drivers/virtio-pci'
  await guest.run(`echo ${card.slot} >${driver}/unbind`)
  assert.equal((await guest.run('grep virtio0 /proc/interrupts')).output, '')
  await guest.run(`echo ${card.slot} >${driver}/bind`)
  const before = await interrupts('input')
  await readEntropy()
  assert.ok((await interrupts('input')) > before)
  const count = await interrupts('config')
  entropy.vectors[0]!.trigger()
  await configInterrupts(count + 1)
})
