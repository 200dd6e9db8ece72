/** How a mount begins and ends, whatever happens to who serves it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { test } from 'node:test'
import { compileC } from '../support/cc.ts'
import { ended } from '../support/child.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { Mounted, Place } from './mounted.ts'

for (const how of ['close', 'exit', 'SIGTERM with a handler'] as const) {
  test(`the mount ends with its server: ${how}`, async () => {
    using place = new Place()
    await using mounted = await Mounted.at(place.path)
    assert.deepEqual(place.mounts, ['fuse.mdevkit'])
    const gone = once(mounted.child, 'exit')
    if (how === 'SIGTERM with a handler') mounted.child.kill('SIGTERM')
    else mounted.child.stdin?.write(`${how}\n`)
    assert.deepEqual(await gone, [0, null])
    assert.deepEqual(place.mounts, [])
    assert.equal(mounted.log, '')
  })
}

test('close() ends it while files are open, calls wait and somebody stands in it', async () => {
  using place = new Place()
  await using mounted = await Mounted.at(place.path)
  await mounted.ask('add abc')
  const user = mounted.begin('exec 2>&1; cd "$M"/many/abc; exec 3<../../slow; cat <&3; cat name')
  const result = ended(user)
  await mounted.until<string[]>('slow', (said) => said.includes('read waits'))
  await mounted.ask('close')
  assert.deepEqual(place.mounts, [])
  const { stdout } = await result
  assert.match(
    stdout,
    /cat: -: .*\ncat: name: (Transport endpoint is not connected|Software caused connection abort)\n$/,
  )
})

test('a server that is killed leaves ENOTCONN, and the next start a clean mount', async () => {
  using place = new Place()
  await using first = await Mounted.at(place.path)
  await first.ask('add abc')
  const user = first.begin(
    'exec 2>&1; cd "$M"/many/abc; exec 3<name; echo ready; read line; cat <&3; ls; cd "$M"; cat value; cd "$M"/many; ls',
  )
  await once(user.stdout!, 'data')
  await first.end('SIGKILL')
  assert.match(await first.says('cat "$M"/value'), /Transport endpoint is not connected/)
  assert.deepEqual(place.mounts, ['fuse.mdevkit'])

  await using second = await Mounted.at(place.path)
  assert.deepEqual(place.mounts, ['fuse.mdevkit'])
  await second.logged(/took away a mount whose server had died/)
  user.stdin?.end('\n')
  const { stdout } = await ended(user)
  const [open, cwd, ...anew] = stdout.trim().split('\n')
  assert.match(open!, /not connected/)
  assert.match(cwd!, /not connected/)
  assert.deepEqual(anew, ['one'])
})

test('a server that is killed while entries go and others list them holds up none of them', async () => {
  using place = new Place()
  using scratch = new Scratch()
  const program = `${scratch.path}/gone`
  compileC(`${PROJECT}test/fuse/gone.c`, program, ['-pthread'])
  for (let round = 0; round < 8; round++) {
    await using mounted = await Mounted.at(place.path)
    await mounted.ask('fill 60')
    const listing = [1, 2].map(() => ended(mounted.begin(`${program} - "$M"/many 0`)))
    for (let i = 0; i < 3 + round; i++) await mounted.ask('churn 60')
    mounted.child.stdin?.write('churn 60\n'.repeat(100))
    await mounted.end('SIGKILL')
    assert.deepEqual(
      (await Promise.all(listing)).map(({ code }) => code),
      [1, 1],
    )
  }
})

test('mounts that several killed servers have left over one another are all taken away', async () => {
  using place = new Place()
  using other = new Place()
  for (const { path } of [place, other]) {
    await using killed = await Mounted.at(path)
    await killed.end('SIGKILL')
  }
  execFileSync('mount', ['--bind', other.path, place.path])
  assert.deepEqual(place.mounts, ['fuse.mdevkit', 'fuse.mdevkit'])
  await using next = await Mounted.at(place.path)
  assert.deepEqual(place.mounts, ['fuse.mdevkit'])
  assert.equal(await next.says('cat "$M"/value'), 'one\n')
})

test('a place where a server lives is refused, by another path too, and its server goes on', async () => {
  using place = new Place()
  await using first = await Mounted.at(place.path)
  await assert.rejects(
    Mounted.at(place.path),
    /EBUSY: mount at .*: a server is there already; umount/,
  )
  const other = `${place.path}-by-link`
  symlinkSync(place.path.replace('/mount point', ''), other)
  await assert.rejects(Mounted.at(`${other}/mount point`), /EBUSY/)
  assert.equal(await first.says('cat "$M"/value'), 'one\n')
})

test('umount by somebody else ends the server', async () => {
  using place = new Place()
  await using mounted = await Mounted.at(place.path)
  const gone = once(mounted.child, 'exit')
  execFileSync('umount', [place.path])
  assert.deepEqual(await gone, [0, null])
})

test('a connection that is aborted takes the mount with it', async () => {
  using place = new Place()
  using control = new Scratch()
  await using mounted = await Mounted.at(place.path)
  execFileSync('mount', ['-t', 'fusectl', 'fusectl', control.path])
  try {
    const gone = once(mounted.child, 'exit')
    await mounted.says(`echo 1 > ${control.path}/$(stat -c %d "$M")/abort`)
    assert.deepEqual(await gone, [0, null])
    assert.deepEqual(place.mounts, [])
    await mounted.logged(/the connection was aborted/)
  } finally {
    execFileSync('umount', [control.path])
  }
})

test('a place that is no directory is refused', async () => {
  await assert.rejects(Mounted.at('/dev/null'), /ENOTDIR|EEXIST/)
  await assert.rejects(Mounted.at('/dev/null/x'), /ENOTDIR|EEXIST/)
  await assert.rejects(Mounted.at('/proc/nothing/here'), /ENOENT/)
})
