/** Two guests that want two cards of one group, of two hosts: the second is refused; one guest may have both. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { qemuArguments, vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { type Guest, bootGuest } from '../../vm/guest.ts'
import { type VmAssets, prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { PROJECT, type Serving, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'

const ARGS = [
  `${PROJECT}examples/link.ts`,
  '--set',
  'group=83b8f4f2-509f-382f-3c1e-0000000000ff',
] as const

const scratch = new Scratch()
const hosts: Serving[] = []
let assets: VmAssets
let sockets: string[]

before(async () => {
  assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  for (const _ of [1, 2]) hosts.push(await serve(ARGS, { root: scratch.path }))
  sockets = hosts.map(({ report }) => report.socket)
})
after(async () => {
  for (const { host } of hosts) await host.stop()
  scratch[Symbol.dispose]()
})

/** QEMU with cards, by their sockets, and a shell in its guest. */
async function boot(...cards: readonly string[]): Promise<Guest> {
  return bootGuest({
    assets,
    init: shellInit,
    sharedMemory: false,
    devices: [qemuArguments(cards)],
  })
}

test('a second QEMU is refused while the first has the other card of the group, and says why', async () => {
  const [one = '', other = ''] = sockets
  const [first, second] = hosts
  assert.equal(first?.report.group, second?.report.group)
  await using guest = await boot(one)
  await assert.rejects(boot(other), {
    code: 'EIO',
    message: /vfio-user-pci.*Device or resource busy/s,
  })
  const refusal = `group ${first?.report.group}: in use by pid ${guest.pid} \\(.*\\)`
  await second?.host.stderr.waitFor(new RegExp(`client pid \\d+ .*refused: EBUSY: ${refusal}\n`))
  await guest.stop()
  await using next = await boot(other)
  assert.notEqual(next.pid, guest.pid)
})

test('one QEMU has both cards, and its guest sees that each has a link to the other', async () => {
  await using guest = await boot(...sockets)
  const { output } = await guest.run(`
    for card in /sys/bus/pci/devices/*; do
      [ $(cat $card/device) = 0xbe17 ] || continue
      base=$(cut -d' ' -f1 $card/resource | head -n 1)
      echo $(devmem $base 32) $(devmem $((base + 4)) 32)
    done`)
  assert.deepEqual(output.trim().split('\n').toSorted(), [
    '0x00000001 0x00000000',
    '0x00000001 0x00000001',
  ])
})

test('a second card of the group is plugged into the guest that has the first, and into no other', async () => {
  const [one = '', other = ''] = sockets
  await using guest = await boot(one)
  await using stranger = await bootGuest({
    assets,
    init: shellInit,
    devices: [['-device', 'pcie-root-port,id=root1,slot=1']],
  })
  const device = { ...(JSON.parse(vfioUserDevice(other)) as object), id: 'card', bus: 'root1' }
  await assert.rejects(stranger.qmp('device_add', device), /Device or resource busy/)
  await guest.stop()
  await stranger.qmp('device_add', device)
})
