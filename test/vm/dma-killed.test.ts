/** QEMU killed while a card uses guest memory by message: the host notes it, keeps nothing, and serves the next guest. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { after, before, test } from 'node:test'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import type { MdevDevice } from '../../src/mdev/mdev.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm, type VmAssets } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'
import { Copier } from './fixtures/copier.ts'
import { GuestCard } from './guest-card.ts'

const MIB = 2 ** 20
/** Memory that Linux leaves alone. */
const SOURCE = 128 * MIB
const TARGET = 160 * MIB
/** More than a socket takes, so that no transfer is over before QEMU is. */
const LENGTH = 16 * MIB

const scratch = new Scratch()
const card = new Copier()
let host: Host
let mdev: MdevDevice
let assets: VmAssets

before(async () => {
  assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  host = new Host({ driver: card.driver, log: silentLogger, root: scratch.path })
  mdev = await host.create('copier-1', freshUuid())
})
after(() => {
  host?.close()
  scratch[Symbol.dispose]()
})

async function boot(): Promise<{ guest: Guest; copier: GuestCard }> {
  const guest = await bootGuest({
    assets,
    init: shellInit,
    memoryMiB: 256,
    sharedMemory: false,
    extraKernelArgs: [`memmap=${64 * MIB}$${SOURCE}`],
    devices: ['-device', vfioUserDevice(host.socketOf(mdev))],
  })
  const copier = await GuestCard.find(guest, '0000:00:01.0')
  await copier.command({ memory: true, busMaster: true })
  await copier.write(0, 0x00, SOURCE)
  await copier.write(0, 0x04, TARGET)
  return { guest, copier }
}

/** Memory and eventfds, which only clients have more of. */
function ofClients(): readonly string[] {
  const { fds, shared } = resourcesOf()
  return [...fds.filter((fd) => /memfd|eventfd/.test(fd)), ...shared]
}

for (const way of ['read', 'write'] as const) {
  test(`QEMU killed while a card ${way}s by message leaves the mdev free and nothing in the host`, async () => {
    const before = ofClients()
    const { guest, copier } = await boot()
    await using _ = guest
    card.onTransfer = (now) => {
      // once the messages of this turn are sent
      if (now === way) setImmediate(() => process.kill(guest.pid, 'SIGKILL'))
    }
    const detached = once(host.events, 'detach')
    guest.send(`${copier.writing(0, 0x08, LENGTH)}\n`)
    assert.equal((await guest.exited).signal, 'SIGKILL')
    await detached
    // the card hears of it a few promises later than who listens to the host
    const failure = await until(() => card.failure ?? false, 'the transfer to fail')
    assert.ok(failure instanceof ErrnoError)
    assert.equal(failure.code, 'ECONNRESET')
    assert.equal(mdev.group.user, undefined)
    assert.deepEqual(ofClients(), before)
    card.onTransfer = () => {}
    card.failure = undefined
  })
}

test('the next guest’s card copies what the guest has put there', async () => {
  const { guest, copier } = await boot()
  await using _ = guest
  await guest.run(`echo copy this | dd of=/dev/mem bs=1M seek=${SOURCE / MIB} 2>/dev/null`)
  await copier.write(0, 0x08, 4096)
  assert.equal(await copier.settled(0, 0x0c, 1), 2)
  const { output } = await guest.run(
    `dd if=/dev/mem bs=1M skip=${TARGET / MIB} count=1 | head -n 1`,
  )
  assert.match(output, /^copy this$/m)
})
