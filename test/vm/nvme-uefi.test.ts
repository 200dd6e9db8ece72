/**
 * UEFI boots from a slice, by its own NVMe driver: it finds the EFI system partition, starts GRUB from it, and through the firmware
 * GRUB reads files of the disk, checks their hashes, and writes one.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { truncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { nvme } from '../../drivers/nvme/nvme.ts'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { createLogger } from '../../src/lib/log.ts'
import { freshUuid } from '../../src/lib/uuid.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { prepareUefi } from '../../vm/uefi-root.ts'
import { Scratch } from '../support/scratch.ts'
import { bootByFirmware } from './boot-by-firmware.ts'

const MIB = 2 ** 20
/** Of each of two files. */
const DATA_MIB = 2
/** A block that GRUB may change: it starts as it says, and is filled with what is no variable. */
const ENVIRONMENT = '# GRUB Environment Block\n'.padEnd(1024, '#')
const LAST = 'GRUB is done.'

const CONFIGURATION = `
insmod hashsum
echo "GRUB runs from $root"
if hashsum --hash sha256 --check /sums --prefix /; then echo "all hashes are right"; fi
set written="by firmware"
save_env written
echo "${LAST}"
`

const scratch = new Scratch()
after(() => scratch[Symbol.dispose]())

test('UEFI finds the disk, boots GRUB from it, and reads and writes what GRUB asks for', async () => {
  const progress = { onProgress: (line: string) => void process.stderr.write(`${line}\n`) }
  const assets = await prepareVm(progress)
  const uefi = await prepareUefi(progress)
  const data = Array.from({ length: 2 }, () => randomBytes(DATA_MIB * MIB))
  const sums = data.map(
    (bytes, index) => `${createHash('sha256').update(bytes).digest('hex')}  data${index}\n`,
  )
  const image = scratch.write('boot.img', '')
  truncateSync(image, 64 * MIB)
  await uefi.makeDisk(image, [
    ['/EFI/BOOT/BOOTX64.EFI', uefi.grub],
    ['/EFI/debian/grub.cfg', scratch.write('grub.cfg', CONFIGURATION)],
    ['/EFI/debian/grubenv', scratch.write('grubenv', ENVIRONMENT)],
    ['/EFI/debian/x86_64-efi/hashsum.mod', join(uefi.grubModules, 'hashsum.mod')],
    ['/sums', scratch.write('sums', sums.join(''))],
    ...data.map((bytes, index) => {
      const name = `data${index}`
      return [`/${name}`, scratch.write(name, bytes)] as const
    }),
  ])
  const lines: string[] = []
  const log = createLogger('debug', (line) => lines.push(line))
  const settings = [['image', image]] as const
  const host = await Host.register({ driver: nvme, log, root: scratch.path, settings })
  try {
    const mdev = await host.create('nvme-64m', freshUuid())
    const devices = ['-bios', uefi.firmware, '-device', vfioUserDevice(host.socketOf(mdev))]
    const output = await bootByFirmware({ assets, memoryMiB: 256, devices }, LAST)
    assert.match(output, /GRUB runs from hd0,gpt1/)
    assert.match(output, /data0: OK[^]*data1: OK[^]*all hashes are right/)
  } finally {
    host.close()
    await host.closed
  }
  assert.match(
    (await uefi.readFile(image, '/EFI/debian/grubenv')).toString(),
    /written=by firmware/,
  )
  for (const [index, bytes] of data.entries())
    assert.ok(bytes.equals(await uefi.readFile(image, `/data${index}`)))
  assert.deepEqual(
    lines.filter((line) => /^(debug|warn|error)/.test(line)),
    [],
  )
})
