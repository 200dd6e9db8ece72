/** `mdevkit exec`: the tree in /sys, for one command alone; its end is ours. */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { PROJECT } from '../support/mdevkit.ts'
import { u } from './bench.ts'
import { MountedMachine, type Played } from './mounted-machine.ts'

async function exec(machine: MountedMachine, command: string, before = ''): Promise<Played> {
  const program = `${process.execPath} ${join(PROJECT, 'bin/mdevkit.js')}`
  return machine.play(
    `export MDEVKIT_ROOT=${machine.root}; ${before} ${program} exec -- sh -c '${command}'; code=$?; exit $code`,
  )
}

describe('mdevkit exec', () => {
  test('shows the tree where the kernel has it, and all else as it was', async () => {
    await using machine = await MountedMachine.start()
    const before = readFileSync('/proc/self/mounts', 'utf8')
    const types = '/sys/class/mdev_bus/mtty/mdev_supported_types'
    const { stdout, stderr, code } = await exec(
      machine,
      `echo ${u(1)} > ${types}/mtty-1/create; cd /sys/bus/mdev/devices/${u(1)};
       readlink -f driver iommu_group mdev_type subsystem vfio-dev/vfio0/subsystem .;
       cat /sys/class/net/lo/address; echo 1 > remove; ls /sys/bus/mdev/devices`,
    )
    assert.equal(stderr, '')
    assert.deepEqual(stdout.trim().split('\n'), [
      '/sys/bus/mdev/drivers/mtty',
      '/sys/kernel/iommu_groups/0',
      '/sys/devices/virtual/mtty/mtty/mdev_supported_types/mtty-1',
      '/sys/bus/mdev',
      '/sys/class/vfio-dev',
      `/sys/devices/virtual/mtty/mtty/${u(1)}`,
      '00:00:00:00:00:00',
    ])
    assert.equal(code, 0)
    assert.ok(!existsSync('/sys/class/mdev_bus/mprobe-a'))
    assert.equal(readFileSync('/proc/self/mounts', 'utf8'), before)
  })

  test('ends as the command does: with its status, or by its signal; and stays where it was called', async () => {
    await using machine = await MountedMachine.start()
    const ended = await exec(machine, 'pwd; exit 7')
    assert.deepEqual([ended.stdout, ended.code], [`${machine.scratch.path}\n`, 7])
    assert.equal((await exec(machine, 'kill -TERM $$')).code, 128 + 15)
    const none = await exec(machine, 'exec /no/such/command')
    assert.equal(none.code, 127)
  })

  test('is for ordinary users too, who stay who they are', async () => {
    await using machine = await MountedMachine.start()
    const { stdout, stderr, code } = await exec(
      machine,
      'id -u; cat /sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/name; echo x > /sys/class/mdev_bus/mtty/mdev_supported_types/mtty-1/create',
      `chmod 755 ${machine.scratch.path} ${machine.root}; setpriv --reuid 65534 --regid 65534 --clear-groups`,
    )
    assert.equal(stdout, '65534\nSingle port serial\n')
    assert.match(stderr, /create: Permission denied\n$/)
    assert.equal(code, 2)
  })

  test('says ENOENT where no tree is mounted, and what to start', async () => {
    await using machine = await MountedMachine.start()
    await machine.down()
    const { stderr, code } = await exec(machine, 'true')
    assert.match(stderr, /^mdevkit exec: ENOENT: exec: no tree at .*sys: start mdevkit daemon/)
    assert.equal(code, 3)
  })
})
