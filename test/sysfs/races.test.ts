/** Many at once in the mounted tree: chapters 3.6 to 3.9 of the kernel's transcript. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { u } from './bench.ts'
import { MountedMachine, type Played } from './mounted-machine.ts'

/** How often each answer was given, as by `sort | uniq -c`. */
function counted({ stdout, stderr }: Played): Readonly<Record<string, number>> {
  assert.equal(stderr, '')
  const counts: Record<string, number> = {}
  for (const line of stdout.split('\n').filter((text) => text !== ''))
    counts[line] = (counts[line] ?? 0) + 1
  return counts
}

/** The same command by many processes at once; `$i` is the number of each. */
function atOnce(processes: number, command: string): string {
  return `for i in $(seq 1 ${processes}); do (${command}) & done; wait`
}

describe('the mounted tree', () => {
  test('has one creator of a UUID, and one remover, of sixteen (3.6)', async () => {
    await using machine = await MountedMachine.start()
    for (let round = 0; round < 5; round++) {
      const created = counted(await machine.play(atOnce(16, 'sw $T/mtty-1/create $(u 1)')))
      assert.deepEqual(created, { 'write(36) = 36': 1, 'write(36) = -EEXIST': 15 })
      const { 'write(1) = 1': winners, ...losers } = counted(
        await machine.play(atOnce(16, 'sw $D/$(u 1)/remove 1')),
      )
      assert.equal(winners, 1) // in the kernel some of the losers succeed, too
      // Linux fs/kernfs/file.c: who has found the file before it went cannot open it, or cannot write to it
      for (const answer of Object.keys(losers))
        assert.match(answer, /^(?:open = -ENOENT|open = -ENODEV|write\(1\) = -ENODEV)$/)
      assert.equal(
        Object.values(losers).reduce((sum, count) => sum + count, 0),
        15,
      )
      assert.equal((await machine.play('at; ls $D')).stdout, 'mtty-1=24 mtty-2=12\n')
    }
  })

  test('lets as many creators through as fit, counted by the core and by the driver (3.7, 3.8)', async () => {
    await using machine = await MountedMachine.start()
    const core = await machine.play(atOnce(16, 'sw $A/mprobe-one/create $(u $i)'))
    assert.deepEqual(counted(core), { 'write(36) = 36': 2, 'write(36) = -EUSERS': 14 })
    const driver = await machine.play(atOnce(41, 'sw $T/mtty-2/create $(u $((100 + $i)))'))
    assert.deepEqual(counted(driver), { 'write(36) = 36': 12, 'write(36) = -ENOSPC': 29 })
    const counts =
      'cat $A/mprobe-one/available_instances $T/mtty-2/available_instances; ls $D | wc -l'
    assert.equal((await machine.play(counts)).stdout, '0\n0\n14\n')
  })

  test('answers everyone who creates while the parent unregisters, and leaves nothing (3.9)', async () => {
    await using machine = await MountedMachine.start()
    const [creators] = await Promise.all([
      machine.play(atOnce(61, 'sw $T/mtty-1/create $(u $i)')),
      machine.order('unregister mtty'),
    ])
    const answers = counted(creators)
    const known = new Set([
      'write(36) = 36',
      'write(36) = -ENOSPC',
      'write(36) = -ENODEV',
      'open = -ENODEV',
      'open = -ENOENT',
    ])
    for (const answer of Object.keys(answers)) assert.ok(known.has(answer), answer)
    assert.equal(
      Object.values(answers).reduce((sum, count) => sum + count, 0),
      61,
    )
    assert.ok((answers['write(36) = 36'] ?? 0) <= 24)
    const gone = 'while ls -d $C/mtty > seen 2>&1; do sleep 0.05; done; ls $D; grep -c mtty seen'
    assert.equal((await machine.play(gone)).stdout, '1\n')
    // others are as they were
    assert.equal(
      (await machine.play('sw $A/mprobe-one/create $(u 99); ls $D')).stdout,
      `write(36) = 36\n${u(99)}\n`,
    )
  })

  test('waits with a removal for the client, and the next mdev has the number of its group (3.2, 3.3)', async () => {
    await using machine = await MountedMachine.start()
    await machine.play('echo $(u 1) > $A/mprobe-one/create')
    await machine.order(`open mprobe-a ${u(1)}`)
    const waiting =
      '(sw $D/$(u 1)/remove 1 > rm.out 2>&1 &) ; while [ -e $D/$(u 1) ]; do sleep 0.05; done; cat rm.out; sw $A/mprobe-one/create $(u 1)'
    assert.equal((await machine.play(waiting)).stdout, 'write(36) = -EEXIST\n')
    await machine.order(`close ${u(1)}`)
    const done =
      'while ! grep -q . rm.out; do sleep 0.05; done; cat rm.out; ls $S/kernel/iommu_groups'
    assert.equal((await machine.play(done)).stdout, 'write(1) = 1\n')
    // its group's number is the next one's
    const again = 'sw $A/mprobe-one/create $(u 2); ls $S/kernel/iommu_groups'
    assert.equal((await machine.play(again)).stdout, 'write(36) = 36\n0\n')
  })

  test('is read by a thousand while mdevs come and go: each sees all of a file, or that it is gone', async () => {
    await using machine = await MountedMachine.start()
    const [readers, rounds, mdevs] = [1000, 3, 3]
    const files = `$T/mtty-1/available_instances $(for i in $(seq 1 ${mdevs}); do echo $D/$(u $i)/mdev_type/name; done)`
    // as long as somebody reads
    const writers = `while [ ! -e over ]; do for i in $(seq 1 ${mdevs}); do echo $(u $i) > $T/mtty-1/create; echo 1 > $D/$(u $i)/remove; done; done; at; ls $D`
    const [read, written] = await Promise.all([
      machine.play(`many ${readers} ${rounds} ${files}; touch over`),
      machine.play(writers),
    ])
    const [whole = 0, gone = 0, bad] = read.stdout.split(' ').map(Number)
    assert.deepEqual([read.stderr, bad], ['', 0])
    assert.equal(whole + gone, readers * rounds * (1 + mdevs))
    assert.ok(whole >= readers * rounds, `${whole} reads`) // the count is always there
    assert.deepEqual(written, { stdout: 'mtty-1=24 mtty-2=12\n', stderr: '', code: 0 })
  })
})
