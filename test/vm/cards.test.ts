/** PCI functions of every make as a guest finds them, and their interrupts by message: one guest with all the cards. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { after, before, test } from 'node:test'
import { type Guest, bootGuest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { type Mdevkit, PROJECT, type Report, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { rom } from './fixtures/cards.ts'

const FIXTURES = `${PROJECT}test/vm/fixtures`

/** In the order of their slots, from 00:01.0 on. */
const CARDS = [
  [`${FIXTURES}/cards.ts`, '--type', 'card-express'],
  [`${FIXTURES}/cards.ts`, '--type', 'card-conventional'],
  [`${FIXTURES}/serial-msi.ts`, '--type', 'serial-msi-msi'],
  [`${FIXTURES}/serial-msi.ts`, '--type', 'serial-msi-msix'],
] as const

const scratch = new Scratch()
const hosts: Mdevkit[] = []
let guest: Guest

before(async () => {
  const assets = await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })
  const reports: Report[] = []
  for (const args of CARDS) {
    const { host, report } = await serve(args, { root: scratch.path })
    hosts.push(host)
    reports.push(report)
  }
  guest = await bootGuest({
    assets,
    init: shellInit,
    // the first report's arguments as they are, memory and machine included; of the others only the card
    sharedMemory: false,
    devices: reports.map(({ qemu }, index) => (index === 0 ? qemu : qemu.slice(-2))),
  })
})
after(async () => {
  await guest?.stop()
  for (const host of hosts) await host.stop()
  scratch[Symbol.dispose]()
})

/** The lines of `lspci -vvv` for a slot, trimmed, addresses of BARs and IRQ numbers replaced by `…`. */
async function lspci(slot: number): Promise<string[]> {
  const { output } = await guest.run(`lspci -vvv -n -s 00:0${slot}.0 2>/dev/null`)
  return output
    .split('\n')
    .map((line) => line.trim().replace(/(?<=(Memory|ports|ROM) at |routed to IRQ )\w+/, '…'))
    .filter((line) => line !== '')
}

/** What lspci shows besides the lines that look into Command, Status and the registers of capabilities. */
function outline(lines: readonly string[]): string[] {
  return lines.filter((line) =>
    /^(\S+ [0-9a-f]{4}:|Subsystem:|Interrupt:|Region|Expansion|Capabilities:|Vector|PBA:)/.test(
      line,
    ),
  )
}

test('lspci shows BARs of every kind, a ROM, and all capabilities', async () => {
  const lines = await lspci(1)
  assert.deepEqual(outline(lines), [
    '00:01.0 ff00: 1b36:be12 (rev 07)',
    'Subsystem: 1af4:1100',
    'Interrupt: pin A routed to IRQ …',
    'Region 0: I/O ports at … [size=32]',
    'Region 1: Memory at … (32-bit, non-prefetchable) [size=64K]',
    'Region 2: Memory at … (64-bit, prefetchable) [size=1M]',
    'Region 4: Memory at … (32-bit, non-prefetchable) [size=4K]',
    'Expansion ROM at … [disabled] [size=2K]',
    // as QEMU shows an endpoint that is not behind a port
    'Capabilities: [40] Express (v2) Root Complex Integrated Endpoint, IntMsgNum 0',
    'Capabilities: [7c] Power Management version 3',
    'Capabilities: [84] MSI: Enable- Count=1/4 Maskable- 64bit+',
    'Capabilities: [94] MSI-X: Enable- Count=8 Masked-',
    'Vector table: BAR=4 offset=00000000',
    'PBA: BAR=4 offset=00000800',
    'Capabilities: [a0] Vendor Specific Information: Len=08 <?>',
  ])
  assert.ok(lines.includes('ExtTag- RBE+ FLReset+ TEE-IO-'), 'function level reset')
  assert.ok(
    lines.some((line) => line.startsWith('Status: D0 NoSoftRst-')),
    'awake',
  )
})

test('lspci shows a conventional function without a pin, and a BAR of 8 GiB', async () => {
  assert.deepEqual(outline(await lspci(2)), [
    '00:02.0 ff00: 1b36:be12 (rev 07)',
    'Subsystem: 1af4:1100',
    'Region 0: Memory at … (32-bit, prefetchable) [size=16]',
    'Region 2: Memory at … (32-bit, non-prefetchable) [size=64K]',
    'Region 4: Memory at … (64-bit, non-prefetchable) [size=8G]',
    'Capabilities: [40] MSI-X: Enable- Count=2048 Masked-',
    'Vector table: BAR=2 offset=00000000',
    'PBA: BAR=2 offset=00008000',
    'Capabilities: [4c] Power Management version 3',
  ])
})

test('configuration space is 4 KiB with express and 256 bytes without', async () => {
  const { output } = await guest.run('stat -c %s /sys/bus/pci/devices/0000:00:0[12].0/config')
  assert.deepEqual(output.trim().split('\n'), ['4096', '256'])
})

test('a guest reads the expansion ROM', async () => {
  const { output } = await guest.run(
    'cd /sys/bus/pci/devices/0000:00:01.0; echo 1 >rom; sha256sum <rom; echo 0 >rom; cd /',
  )
  assert.equal(output.split(' ')[0], createHash('sha256').update(rom).digest('hex'))
})

for (const { slot, tty, kind } of [
  { slot: 3, tty: 1, kind: 'MSI' },
  { slot: 4, tty: 2, kind: 'MSI-X' },
]) {
  test(`interrupts reach the guest’s driver by ${kind}`, async () => {
    assert.ok((await lspci(slot)).some((line) => line.includes(`] ${kind}: Enable+`)))
    const interrupts = async () => {
      const { output } = await guest.run(`grep ttyS${tty} /proc/interrupts`)
      assert.match(output, new RegExp(`PCI-${kind.replace('-', '')}-0000:00:0${slot}\\.0`))
      return Number(/:\s*(\d+)/.exec(output)?.[1])
    }
    await guest.run(`exec 3<>/dev/ttyS${tty}; stty raw -echo <&3`)
    const before = await interrupts()
    const { output } = await guest.run('echo by message >&3; head -n 1 <&3')
    assert.equal(output, 'by message\n')
    assert.ok((await interrupts()) > before)
    await guest.run('exec 3>&-')
  })
}
