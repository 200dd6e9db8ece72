/**
 * A slice of an image as a guest's own NVMe driver uses it: partitioned, with a file system on it, looked at by nvme-cli, and
 * verified by fio while it is written.
 */
import assert from 'node:assert/strict'
import { truncateSync } from 'node:fs'
import { after, before, test } from 'node:test'
import { nvme } from '../../drivers/nvme/nvme.ts'
import { Host } from '../../src/host/host.ts'
import { vfioUserDevice } from '../../src/host/vmm-arguments.ts'
import { createLogger } from '../../src/lib/log.ts'
import { diskToolFiles } from '../../vm/disk-tools.ts'
import { bootGuest, type Guest } from '../../vm/guest.ts'
import { prepareVm } from '../../vm/prepare.ts'
import { SHELL_READY, shellInit } from '../../vm/shell.ts'
import { Scratch } from '../support/scratch.ts'
import { PATIENCE, runIn } from './nvme-guest.ts'

const UUID = '5d4b5b0c-6f0e-4e0c-9a2e-0c7a3a1f7e01'
const SERIAL = 'MDEV-0001'
const MIB = 2 ** 20
const SIZE_MIB = 256
/** Ten files, 100 MB in all. */
const FILES = 10
const FILE_SIZE = 10_000_000

const scratch = new Scratch()
/** What was logged, from debug on. */
const lines: string[] = []
let host: Host
let guest: Guest

before(async () => {
  const progress = { onProgress: (line: string) => void process.stderr.write(`${line}\n`) }
  const assets = await prepareVm(progress)
  const tools = await diskToolFiles(['mke2fs', 'e2fsck', 'nvme', 'fio'], progress)
  const image = scratch.write('disk.img', '')
  truncateSync(image, 512 * MIB)
  const log = createLogger('debug', (line) => lines.push(line))
  host = await Host.register({
    driver: nvme,
    log,
    root: scratch.path,
    settings: [['image', image]],
  })
  const mdev = await host.create('nvme-64m', UUID, [
    ['size', String(SIZE_MIB)],
    ['serial', SERIAL],
  ])
  guest = await bootGuest({
    assets,
    init: shellInit,
    files: tools,
    modules: ['nvme', 'ext4', 'crc32c_generic'],
    memoryMiB: 512,
    cpus: 2,
    devices: ['-device', vfioUserDevice(host.socketOf(mdev))],
    ...PATIENCE,
  })
})
after(async () => {
  await guest?.stop()
  host?.close()
  scratch[Symbol.dispose]()
})

/** Runs a command in the guest that is to succeed. @returns what it printed */
async function run(command: string): Promise<string> {
  return runIn(guest, command)
}

test('the guest’s driver finds the controller and its namespace, with all its queues and vectors', async () => {
  assert.equal(
    await run('cd /sys/class/nvme/nvme0 && cat model serial firmware_rev state queue_count; cd'),
    `${'mdevkit NVMe'.padEnd(40)}\n${SERIAL.padEnd(20)}\n${'1.0'.padEnd(8)}\nlive\n3\n`,
  )
  assert.equal(await run('cat /sys/block/nvme0n1/size'), `${(SIZE_MIB * MIB) / 512}\n`)
  assert.equal(await run('cat /sys/block/nvme0n1/wwid'), `uuid.${UUID}\n`)
  assert.equal(await run('ls /sys/class/nvme/nvme0/device/msi_irqs | wc -l'), '3\n')
})

test('nvme-cli shows what it is, and that nothing went wrong', async () => {
  const list = await run('/usr/sbin/nvme list')
  assert.match(list, /\/dev\/nvme0n1.*MDEV-0001 +mdevkit NVMe .*268\.44 +MB .*512 +B/)
  const controller = await run('/usr/sbin/nvme id-ctrl /dev/nvme0')
  assert.match(controller, /^sn +: MDEV-0001 *$/m)
  assert.match(controller, /^mdts +: 7$/m)
  assert.match(controller, /^ver +: 0x10400$/m)
  assert.match(controller, new RegExp(`^subnqn +: nqn.2014-08.org.nvmexpress:uuid:${UUID}$`, 'm'))
  const namespace = await run('/usr/sbin/nvme id-ns /dev/nvme0n1')
  assert.match(namespace, /^nsze +: 0x80000$/m)
  assert.match(namespace, /^lbaf +0 : ms:0 +lbads:9 +rp:0 \(in use\)$/m)
  const smart = await run('/usr/sbin/nvme smart-log /dev/nvme0')
  assert.match(smart, /^critical_warning\s+: 0$/m)
  assert.match(smart, /^media_errors\s+: 0$/m)
})

test('a partition with ext4 on it keeps 100 MB of files over a reboot', async () => {
  await run(`printf 'n\\np\\n1\\n\\n\\nw\\n' | fdisk /dev/nvme0n1 >/dev/null`)
  await run(
    '/usr/sbin/mke2fs -q -t ext4 /dev/nvme0n1p1 && mkdir -p /mnt && mount -t ext4 /dev/nvme0n1p1 /mnt',
  )
  const sums = await run(`
    head -c ${FILE_SIZE} /dev/urandom >/tmp/random
    cd /mnt
    for i in $(seq ${FILES}); do (echo $i && cat /tmp/random) >file$i; done
    md5sum file* | tee sums
    cd / && sync && umount /mnt`)
  assert.equal(sums.split('\n').length, FILES + 1)
  guest.send('reboot -f\n')
  await guest.waitFor(SHELL_READY, PATIENCE)
  await run(
    '/usr/sbin/e2fsck -fn /dev/nvme0n1p1 && mkdir -p /mnt && mount -t ext4 /dev/nvme0n1p1 /mnt',
  )
  assert.equal(await run('cd /mnt && md5sum -c sums | grep -c OK; cd /'), `${FILES}\n`)
  assert.equal(await run('cat /mnt/sums'), sums)
  await run('umount /mnt')
})

for (const [title, size, total] of [
  ['4 KiB', '4k', '1m'],
  ['128 KiB', '128k', '4m'],
] as const) {
  test(`fio verifies random reads and writes of ${title} at depth 32, from four jobs`, async () => {
    const output = await run(
      `/usr/bin/fio --name=verify --filename=/dev/nvme0n1 --rw=randrw --bs=${size} --iodepth=32 --ioengine=libaio --direct=1 ` +
        `--size=${total} --numjobs=4 --offset_increment=32m --thread --verify=crc32c --do_verify=1 --verify_fatal=1 --minimal`,
    )
    assert.doesNotMatch(output, /verify:/)
  })
}

test('nothing was refused meanwhile, and the kernel has nothing to complain of', async () => {
  assert.deepEqual(
    lines.filter((line) => /^(debug|warn|error)/.test(line)),
    [],
  )
  const kernel = await run('dmesg | grep nvme')
  assert.doesNotMatch(kernel, /timeout|error|fail|reset|abort/i)
  assert.match(await run('/usr/sbin/nvme smart-log /dev/nvme0'), /^media_errors\s+: 0$/m)
})
