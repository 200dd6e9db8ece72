/** A guest's own NVMe driver where it has less than usual: only the pin to be interrupted by, or memory that is not shared with us. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync, truncateSync } from 'node:fs'
import { test } from 'node:test'
import { nvme } from '../../drivers/nvme/nvme.ts'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { createLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import { bootGuest, type GuestOptions } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { shellInit } from '../../vm/shell.ts'
import { Scratch } from '../support/scratch.ts'
import { PATIENCE, runIn } from './nvme-guest.ts'

const MIB = 2 ** 20
const COPIED_MIB = 4

interface Machine {
  readonly title: string
  readonly options: Partial<GuestOptions>
  /** What /proc/interrupts says of each of the driver's. */
  readonly interrupts: RegExp
  /** What the kernel has to say of the driver besides its greetings. */
  readonly complaints: readonly string[]
  /** Of which mdevkit warns. */
  readonly warnings: RegExp
}

const MACHINES: readonly Machine[] = [
  {
    title: 'without message-signalled interrupts the pin is enough',
    options: { extraKernelArgs: ['pci=nomsi'] },
    interrupts: /IO-APIC +\d+-fasteoi +nvme0q0, nvme0q1$/,
    complaints: [],
    warnings: /^$/,
  },
  {
    title: 'memory that is not shared is read and written by messages',
    options: { sharedMemory: false },
    interrupts: /PCI-MSIX-0000:00:01\.0 +\d+-edge +nvme0q\d$/,
    // it goes on with doorbells that are registers
    complaints: ['nvme nvme0: unable to set dbbuf'],
    warnings: /^warn: \S+: guest memory came without a file: .*$/,
  },
]

for (const { title, options, interrupts, complaints, warnings } of MACHINES) {
  test(title, async () => {
    using scratch = new Scratch()
    const assets = await prepareVm({
      onProgress: (line) => void process.stderr.write(`${line}\n`),
    })
    const image = scratch.write('disk.img', '')
    truncateSync(image, 64 * MIB)
    const lines: string[] = []
    const log = createLogger('debug', (line) => lines.push(line))
    const settings = [['image', image]] as const
    const host = await Host.register({ driver: nvme, log, root: scratch.path, settings })
    try {
      const mdev = await host.create('nvme-64m', freshUuid())
      await using guest = await bootGuest({
        assets,
        init: shellInit,
        modules: ['nvme'],
        devices: ['-device', vfioUserDevice(host.socketOf(mdev))],
        ...PATIENCE,
        ...options,
      })
      const run = async (command: string) => runIn(guest, command)
      await run(`head -c ${COPIED_MIB * MIB} /dev/urandom >/tmp/data`)
      await run('dd if=/tmp/data of=/dev/nvme0n1 bs=128k seek=8 oflag=direct 2>/dev/null')
      await run(
        `dd if=/dev/nvme0n1 bs=128k skip=8 count=${COPIED_MIB * 8} iflag=direct 2>/dev/null | cmp - /tmp/data`,
      )
      const [sum] = (await run('sha256sum /tmp/data')).split(' ')
      const bytes = readFileSync(image).subarray(MIB, (1 + COPIED_MIB) * MIB)
      assert.equal(createHash('sha256').update(bytes).digest('hex'), sum)
      const rows = (await run('grep nvme0q /proc/interrupts')).trimEnd().split('\n')
      for (const row of rows) assert.match(row.trimEnd(), interrupts)
      const counts = rows.map((row) => Number(/: +(\d+)/.exec(row)?.[1]))
      assert.ok(Math.max(...counts) > COPIED_MIB * 8, rows.join('\n'))
      const kernel = (await run('dmesg')).replaceAll(/^\[.*?\] /gm, '').split('\n')
      assert.deepEqual(
        kernel.filter((line) => /^nvme (?!.*(pci function|poll queues))/.test(line)),
        complaints,
      )
    } finally {
      host.close()
      await host.closed
    }
    assert.match(lines.filter((line) => /^(debug|warn|error)/.test(line)).join('\n'), warnings)
  })
}
