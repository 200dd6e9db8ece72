/** A card that comes and goes while its guest runs: plugged, found, used and unplugged, the mdev behind it staying. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { type Guest, bootGuest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { type Mdevkit, PROJECT, serve } from '../support/mdevkit.ts'
import { type Resources, resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'

/** Each has a root port of its own, by this number. None has MSI-X: QEMU 11.1 aborts when such a card is unplugged. */
const CARDS = [
  {
    port: 1,
    irq: 'INTx',
    chip: 'IO-APIC',
    rounds: 100,
    args: ['mtty', '--set', 'ports=loopback'],
  },
  {
    port: 2,
    irq: 'MSI',
    chip: 'PCI-MSI-0000:02:00.0',
    rounds: 25,
    args: [`${PROJECT}test/vm/fixtures/serial-msi.ts`, '--type', 'serial-msi-msi'],
  },
] as const

const scratch = new Scratch()
let guest: Guest

before(async () => {
  const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  guest = await bootGuest({
    assets,
    init: shellInit,
    devices: CARDS.map(({ port }) => ['-device', `pcie-root-port,id=root${port},slot=${port}`]),
  })
})
after(async () => {
  await guest?.stop()
  scratch[Symbol.dispose]()
})

/**
 * One round: the guest's serial driver finds the card, a line goes through it by interrupts, and it is gone again.
 *
 * @returns what the host held while the card was in use
 */
async function plugAndUnplug(
  host: Mdevkit,
  socket: string,
  port: number,
  chip: string,
): Promise<Resources> {
  const device = JSON.parse(vfioUserDevice(socket)) as Readonly<Record<string, unknown>>
  await guest.qmp('device_add', { ...device, id: 'card', bus: `root${port}` })
  const { output } = await guest.run(`
    until grep -q '^1: uart:16550A' /proc/tty/driver/serial; do :; done
    until [ -c /dev/ttyS1 ]; do :; done # the driver takes the node of the port that was not there away first
    exec 3<>/dev/ttyS1; stty raw -echo <&3
    echo through the port >&3; head -n 1 <&3
    grep ttyS1 /proc/interrupts
    exec 3>&-`)
  const [line, interrupts = ''] = output.split('\n')
  assert.equal(line, 'through the port')
  assert.match(interrupts, new RegExp(`^ *\\d+: +[1-9]\\d* .*${chip}`))
  const inUse = resourcesOf(host.pid)
  await guest.qmp('device_del', { id: 'card' }) // which asks the guest to let go
  const { data } = await guest.qmpEvent('DEVICE_DELETED')
  assert.equal(data?.['device'], 'card')
  await host.stderr.waitFor(/client pid \d+ \(.*\): gone\n/)
  const slot = `/sys/bus/pci/devices/0000:0${port}:00.0`
  await guest.run(`while [ -e ${slot} ]; do :; done`)
  return inUse
}

for (const { port, irq, chip, rounds, args } of CARDS) {
  test(`a card with ${irq} is plugged and unplugged ${rounds} times, and works each time`, async () => {
    await using serving = await serve(args, { root: scratch.path })
    const { host, report } = serving
    const inUse: Resources[] = []
    for (let round = 0; round < rounds; round++) {
      inUse.push(await plugAndUnplug(host, report.socket, port, chip))
    }
    const [first, last] = [inUse[0]!, inUse.at(-1)!]
    assert.deepEqual(last.fds, first.fds)
    assert.deepEqual(last.shared, first.shared)
    // a window goes when the collector finds that nobody looks into it any more
    assert.ok(last.windows <= first.windows + 1, `${first.windows} windows, then ${last.windows}`)

    const { code, stderr } = await host.stop()
    assert.equal(code, 0)
    const said = stderr.trim().replaceAll(/^.*: client pid \d+ \(.*\): /gm, '')
    assert.equal(said, 'attached\ngone\n'.repeat(rounds).trim())
  })
}

test('QEMU had nothing to complain of', async () => {
  await guest.qmp('quit')
  const { code, stderr } = await guest.exited
  assert.deepEqual({ code, stderr }, { code: 0, stderr: '' })
})
