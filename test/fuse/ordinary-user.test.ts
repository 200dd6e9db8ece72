/** A mount by an ordinary user, through fusermount3, in a mount namespace of its own. */
import assert from 'node:assert/strict'
import { chownSync } from 'node:fs'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { AS_USER, OWN_DEVICE, PRIVATELY, USER } from '../support/ordinary-user.ts'
import { Mounted, Place } from './mounted.ts'

/** How many mounts there are at the place, by the name of the directory that it is in. */
const COUNT = 'grep -c "$(basename "$(dirname "$M")")" /proc/mounts'

/** Everything that this process does is seen by those who enter its namespace only. */
async function mountAsUser(path: string, ...more: readonly string[]): Promise<Mounted> {
  const mounted = await Mounted.at(path, (command) => [
    ...PRIVATELY,
    OWN_DEVICE,
    'bash',
    ...AS_USER,
    ...command,
    ...more,
  ])
  mounted.prefix = ['nsenter', `--target=${mounted.child.pid}`, '--mount']
  return mounted
}

function placeOfUser(): Place {
  const place = new Place()
  chownSync(dirname(place.path), USER, USER)
  return place
}

test('an ordinary user mounts, uses and unmounts a tree of his own', async () => {
  using place = placeOfUser()
  await using mounted = await mountAsUser(place.path)
  const asRoot = mounted.prefix
  mounted.prefix = [...asRoot, ...AS_USER]
  assert.equal(
    await mounted.says('cat "$M"/value; echo abc > "$M"/create && stat -c %u "$M"/many/abc'),
    `one\n${USER}\n`,
  )
  assert.equal(await mounted.says(COUNT), '1\n')
  mounted.prefix = asRoot
  assert.match(await mounted.says('cat "$M"/value'), /Permission denied/, 'not even root may enter')

  // a shell that is there before, and so sees what is left after
  const left = mounted.says(`tail --pid=${mounted.child.pid} -f /dev/null; ${COUNT}`)
  await mounted.ask('close')
  assert.equal(await left, '0\n')
})

test("what an ordinary user's killed server has left is taken away by the next", async () => {
  using place = placeOfUser()
  // both in one namespace: the first is killed by the shell that starts the second
  const twice = `
    M=\${!#}
    "$@" < <(exec tail --pid=$$ -f /dev/null 2> /dev/null) & first=$!
    while [ "$(${COUNT})" = 0 ]; do sleep 0.1; done
    kill -9 $first; wait $first
    exec "$@"`
  await using mounted = await Mounted.at(place.path, (command) => [
    ...PRIVATELY,
    OWN_DEVICE,
    'bash',
    ...AS_USER,
    'bash',
    '-c',
    twice,
    'bash',
    ...command,
  ])
  mounted.prefix = ['nsenter', `--target=${mounted.child.pid}`, '--mount', ...AS_USER]
  await mounted.logged(/took away a mount whose server had died/)
  assert.equal(await mounted.says(`cat "$M"/value; ${COUNT}`), 'one\n1\n')
})

test('where it is not allowed, the refusal says what would help', async () => {
  using place = placeOfUser()
  await assert.rejects(mountAsUser(place.path, 'true'), /EPERM: mount at .*user_allow_other/)
  await assert.rejects(
    Mounted.at(place.path, (command) => [
      'env',
      'PATH=/nowhere',
      '/usr/bin/setpriv',
      ...AS_USER.slice(1),
      ...command,
    ]),
    /ENOENT: no fusermount3 in PATH: install fuse3/,
  )
  await assert.rejects(
    Mounted.at(place.path, (command) => ['setpriv', '--bounding-set=-sys_admin', ...command]),
    /EPERM: mount at .*: mounting takes CAP_SYS_ADMIN/,
  )
  const noDevice = 'mount -t tmpfs tmpfs /dev && exec "$@"'
  await assert.rejects(
    Mounted.at(place.path, (command) => [...PRIVATELY, noDevice, 'bash', ...command]),
    /ENODEV: no \/dev\/fuse: load the kernel module/,
  )
})
