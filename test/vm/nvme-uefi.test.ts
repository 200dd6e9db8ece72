/**
 * A slice that is a whole disk to boot from: UEFI finds its EFI system partition by a driver of its own and starts GRUB, which reads,
 * checks and writes files through the firmware, and starts Linux; and that takes the controller over and uses the same files.
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
import { buildInitramfs } from '../../vm/initramfs.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { prepareUefi } from '../../vm/uefi-root.ts'
import { Scratch } from '../support/scratch.ts'
import { bootByFirmware } from './boot-by-firmware.ts'

const MIB = 2 ** 20
/** Of each of two files. */
const DATA_MIB = 2
/** A block that GRUB may change: it starts as it says, and is filled with what is no variable. */
const ENVIRONMENT = '# GRUB Environment Block\n'.padEnd(1024, '#')
const LAST = 'Linux is done.'

const CONFIGURATION = `
insmod hashsum
echo "GRUB runs from $root"
if hashsum --hash sha256 --check /sums --prefix /; then echo "GRUB finds all as it was"; fi
set written="by firmware"
save_env written
linux /vmlinuz console=ttyS0 quiet mitigations=off
initrd /initramfs
boot
`

const INIT = `
echo "Linux runs, by EFI of $(cat /sys/firmware/efi/fw_platform_size) bits"
mkdir /mnt && mount -t vfat /dev/nvme0n1p1 /mnt && cd /mnt
sha256sum -c sums && echo 'Linux finds all as it was'
cp data1 copy && cd / && umount /mnt
dmesg | sed -n 's/^.*\\(nvme nvme0:\\)/\\1/p'
echo '${LAST}'
`

const scratch = new Scratch()
after(() => scratch[Symbol.dispose]())

test('UEFI boots GRUB and Linux from the disk, each reads and writes it, and it is handed over', async () => {
  const progress = { onProgress: (line: string) => void process.stderr.write(`${line}\n`) }
  const assets = await prepareVm(progress)
  const uefi = await prepareUefi(progress)
  const data = Array.from({ length: 2 }, () => randomBytes(DATA_MIB * MIB))
  const sums = data.map(
    (bytes, index) => `${createHash('sha256').update(bytes).digest('hex')}  data${index}\n`,
  )
  // FAT as the kernel has it unless told otherwise
  const modules = ['nvme', 'vfat', 'nls_cp437', 'nls_ascii']
  const initramfs = await buildInitramfs({ assets, init: INIT, modules })
  const image = scratch.write('boot.img', '')
  truncateSync(image, 64 * MIB)
  await uefi.makeDisk(image, [
    ['/EFI/BOOT/BOOTX64.EFI', uefi.grub],
    ['/EFI/debian/grub.cfg', scratch.write('grub.cfg', CONFIGURATION)],
    ['/EFI/debian/grubenv', scratch.write('grubenv', ENVIRONMENT)],
    ['/EFI/debian/x86_64-efi/hashsum.mod', join(uefi.grubModules, 'hashsum.mod')],
    ['/vmlinuz', assets.kernelImage],
    ['/initramfs', scratch.write('initramfs', initramfs)],
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
    const output = await bootByFirmware({ assets, memoryMiB: 512, devices }, LAST)
    assert.match(output, /GRUB runs from hd0,gpt1/)
    assert.match(output, /data0: OK[^]*data1: OK[^]*GRUB finds all as it was/)
    assert.match(
      output.slice(output.indexOf('Linux runs')).replaceAll('\r', ''),
      new RegExp(
        [
          'Linux runs, by EFI of 64 bits',
          'data0: OK',
          'data1: OK',
          'Linux finds all as it was',
          'nvme nvme0: pci function \\S+',
          'nvme nvme0: 1/0/0 default/read/poll queues',
          LAST,
        ].join('\n'),
      ),
    )
  } finally {
    host.close()
    await host.closed
  }
  assert.match(
    (await uefi.readFile(image, '/EFI/debian/grubenv')).toString(),
    /written=by firmware/,
  )
  for (const [name, bytes] of [
    ['data0', data[0]!],
    ['data1', data[1]!],
    ['copy', data[1]!],
  ] as const)
    assert.ok(bytes.equals(await uefi.readFile(image, `/${name}`)), name)
  // QEMU is ended with whatever it has not read yet
  assert.deepEqual(
    lines.filter((line) => /^(debug|warn|error)/.test(line) && !/ closing: ECONNRESET/.test(line)),
    [],
  )
})
