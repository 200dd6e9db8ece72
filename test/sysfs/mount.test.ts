/** What people and accidents do to the mounted tree. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'
import { u } from './bench.ts'
import { MountedMachine } from './mounted-machine.ts'

const NOBODY = 65534

describe('the mounted tree', () => {
  test('refuses what sysfs refuses: rm, mv, mkdir, ln, touch, mmap; and takes truncation', async () => {
    await using machine = await MountedMachine.start()
    await machine.play('echo $(u 1) > $T/mtty-1/create')
    for (const command of [
      'rm -f $T/mtty-1/name',
      'rm -rf $D/$(u 1)',
      'rmdir $T/mtty-1/devices',
      'mv $T/mtty-1/name $T/mtty-1/other',
      'mkdir $T/mtty-9',
      'ln -s x $T/mtty-1/x',
      'ln $T/mtty-1/name $T/mtty-1/x',
      'touch $T/mtty-1/x',
    ])
      assert.match(
        (await machine.play(command)).stderr,
        /: (Operation not permitted|Permission denied)/,
        command,
      )
    assert.equal((await machine.play('truncate -s 0 $D/$(u 1)/remove; ls $D')).stdout, `${u(1)}\n`)
    assert.equal(
      (await machine.play('stat -c %s $T/mtty-1/name; mm $T/mtty-1/name; cat $T/mtty-1/name'))
        .stdout,
      '4096\nMAP_SHARED = -ENODEV\nMAP_PRIVATE = "Single port serial\\n"\nSingle port serial\n',
    )
    assert.equal((await machine.play('at')).stdout, 'mtty-1=23 mtty-2=11\n')
  })

  test('takes one write for one creation, in pieces, at offsets, of a page and more', async () => {
    await using machine = await MountedMachine.start()
    const create = '$T/mtty-1/create'
    // two writes are two requests, and half a UUID is none
    const halves = await machine.play(
      `{ printf %.18s $(u 1); sleep 0.1; printf x; } > ${create}; ls $D`,
    )
    assert.deepEqual([halves.stdout, halves.stderr.match(/Invalid argument/g)?.length], ['', 2])
    const page = await machine.play(
      `head -c 5000 /dev/zero | dd of=${create} bs=5000 2>&1 | grep -o "Invalid argument"; ls $D`,
    )
    assert.equal(page.stdout, 'Invalid argument\n')
    const offset = await machine.play(
      `u 2 | dd of=${create} bs=37 seek=1 conv=notrunc 2>/dev/null; ls $D`,
    )
    assert.equal(offset.stdout, `${u(2)}\n`)
    assert.equal(
      (await machine.play(`u 3 | tee ${create}; u 4 >> ${create}; ls $D | wc -l`)).stdout,
      `${u(3)}\n3\n`,
    )
  })

  test('asks for rights as files do: chown and chmod give them (2.9)', async () => {
    await using machine = await MountedMachine.start()
    const { scratch, root } = machine
    await machine.play(`chmod 755 ${scratch.path} ${root}; chmod 755 $TOOLS`)
    await machine.play('echo $(u 1) > $T/mtty-1/create')
    const denied =
      'sw $T/mtty-1/create $(u 2); sw $D/$(u 1)/remove 1; cat $D/$(u 1)/vendor/sample_mdev_dev'
    assert.equal(
      (await machine.play(denied, NOBODY)).stdout,
      `open = -EACCES\nopen = -EACCES\nThis is MDEV ${u(1)}\n`,
    )
    await machine.play(`chown ${NOBODY} $T/mtty-1/create $D/$(u 1)/remove`)
    const allowed = 'sw $T/mtty-1/create $(u 2); sw $D/$(u 1)/remove 1; sw $D/$(u 2)/remove 1'
    assert.equal(
      (await machine.play(allowed, NOBODY)).stdout,
      'write(36) = 36\nwrite(1) = 1\nopen = -EACCES\n',
    )
  })

  test('ends a waiting removal by a signal, and the removal goes on', async () => {
    await using machine = await MountedMachine.start()
    await machine.play('echo $(u 1) > $T/mtty-1/create')
    await machine.order(`open mtty ${u(1)}`)
    const writer = machine.shell('echo 1 > $D/$(u 1)/remove')
    const ended = once(writer, 'exit')
    await machine.play('while [ -e $D/$(u 1) ]; do sleep 0.05; done')
    writer.kill('SIGKILL')
    await ended
    assert.equal(
      (await machine.play('ls $C/mtty/$(u 1); sw $T/mtty-1/create $(u 1)')).stdout,
      'iommu_group\nwrite(36) = -EEXIST\n',
    )
    await machine.order(`close ${u(1)}`)
    const gone = 'while [ -e $C/mtty/$(u 1) ]; do sleep 0.05; done; sw $T/mtty-1/create $(u 1)'
    assert.equal((await machine.play(gone)).stdout, 'write(36) = 36\n')
  })

  test('is read by many while mdevs come and go, and never shows half of one', async () => {
    await using machine = await MountedMachine.start()
    const readers = `
for i in $(seq 1 100); do
  (for j in 1 2 3; do cat $T/*/available_instances $D/*/vendor/sample_mdev_dev > /dev/null 2> err.$i; grep -v -E "No such (file|device)" err.$i; ls -lR $D/ > /dev/null 2>&1; done) &
done; wait; echo done`
    const writers =
      'for i in $(seq 1 30); do echo $(u $i) > $T/mtty-1/create; echo 1 > $D/$(u $i)/remove; done; at'
    const [read, written] = await Promise.all([machine.play(readers), machine.play(writers)])
    assert.deepEqual([read.stdout, read.stderr], ['done\n', ''])
    assert.deepEqual([written.stdout, written.stderr], ['mtty-1=24 mtty-2=12\n', ''])
  })

  test('is mounted anew where a killed daemon has left it, with files open and somebody in it', async () => {
    await using machine = await MountedMachine.start()
    await machine.play('echo $(u 1) > $T/mtty-1/create')
    const holder = machine.shell('cd $D/$(u 1) && exec 3< uevent && echo in && exec sleep 600')
    await once(holder.stdout!, 'data')
    await machine.down('SIGKILL')
    assert.match((await machine.play('ls $C')).stderr, /Transport endpoint is not connected/)
    await machine.up()
    assert.equal((await machine.play('ls $C | wc -l; at')).stdout, '5\nmtty-1=24 mtty-2=12\n')
    assert.equal((await machine.play('grep -c " $S fuse" /proc/mounts')).stdout, '1\n')
    holder.kill('SIGKILL')
    await once(holder, 'exit')
    await machine.down()
    assert.equal((await machine.play('ls -A $S; grep -c " $S fuse" /proc/mounts')).stdout, '0\n')
  })
})
