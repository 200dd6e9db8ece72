/** A daemon of an ordinary user: its tree is mounted by fusermount3, and is his own. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { test } from 'node:test'
import { prepareMdevctl } from '../../vm/mdevctl.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { AS_USER, OWN_DEVICE, PRIVATELY, USER } from '../support/ordinary-user.ts'
import { u } from './bench.ts'
import { MountedMachine } from './mounted-machine.ts'

/** Where the user finds mdevctl: what the tests keep of Debian is not for all. */
const SHOWN_AT = '/mnt/mdevctl'
const SHOW = `mkdir ${SHOWN_AT} && mount --bind "$0" ${SHOWN_AT} && exec "$@"`
const MDEVCTL = '/usr/bin/mdevctl'

test("an ordinary user's daemon mounts, creates, lists by mdevctl, removes and unmounts", async () => {
  const { argv } = await prepareMdevctl('1.4')
  const debian = argv.at(-1)?.slice(0, -MDEVCTL.length) ?? ''
  const mdevctl = argv.join(' ').replaceAll(debian, SHOWN_AT)
  await using machine = await MountedMachine.start({
    user: USER,
    prefix: [...PRIVATELY, OWN_DEVICE, 'bash', 'bash', '-c', SHOW, debian, ...AS_USER],
  })
  assert.deepEqual(
    await machine.play('id -u; grep " $S fuse" /proc/mounts | grep -o "user_id=[0-9]*"; at'),
    { stdout: `${USER}\nuser_id=${USER}\nmtty-1=24 mtty-2=12\n`, stderr: '', code: 0 },
  )
  const created = await machine.play(
    `echo $(u 1) > $T/mtty-1/create && stat -c %u:%a $D/$(u 1)/remove && MDEVCTL_ENV_ROOT=${machine.root} ${mdevctl} list`,
  )
  assert.deepEqual(created, {
    stdout: `${USER}:200\n${u(1)} mtty mtty-1 manual\n`,
    stderr: '',
    code: 0,
  })
  const defined = `export MDEVCTL_ENV_ROOT=${machine.root}
${mdevctl} define -u $(u 1) && ${mdevctl} stop -u $(u 1) && ls $D && ${mdevctl} start -u $(u 1) && ${mdevctl} list`
  assert.deepEqual(await machine.play(defined), {
    stdout: `${u(1)} mtty mtty-1 manual (defined)\n`,
    stderr: '',
    code: 0,
  })
  assert.equal(
    (await machine.play('sw $D/$(u 1)/remove 1; at')).stdout,
    'write(1) = 1\nmtty-1=24 mtty-2=12\n',
  )

  // a shell that is in the namespace before, and so sees what is left after
  const left = machine.shell(
    `echo in; tail --pid=${machine.pid} -f /dev/null; grep -c " $S fuse" /proc/mounts`,
  )
  await once(left.stdout!, 'data')
  const said = text(left.stdout!)
  await machine.down()
  assert.equal(await said, '0\n')
})

test('mdevkit exec of an ordinary user finds his own tree in /sys, and makes an mdev there as himself', async () => {
  await using machine = await MountedMachine.start({
    user: USER,
    prefix: [...PRIVATELY, OWN_DEVICE, 'bash', ...AS_USER],
  })
  const types = '/sys/class/mdev_bus/mtty/mdev_supported_types'
  const inside = `id -u; echo ${u(1)} > ${types}/mtty-1/create && ls /sys/bus/mdev/devices && stat -c %u ${types}/mtty-1/create; mount -t tmpfs x /mnt 2>&- || echo no more than before; cat /sys/class/net/lo/address`
  const program = `${process.execPath} ${join(PROJECT, 'bin/mdevkit.js')}`
  const exec = `export MDEVKIT_ROOT=${machine.root}; ${program} exec -- sh -c '${inside}'`
  assert.deepEqual(await machine.play(exec), {
    stdout: `${USER}\n${u(1)}\n${USER}\nno more than before\n00:00:00:00:00:00\n`,
    stderr: '',
    code: 0,
  })
  assert.equal((await machine.play('ls $D; ls -d /sys/class/mdev_bus')).stdout, `${u(1)}\n`)
})
