import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { detachMount, mountFileSystem, mountsAt } from '../../src/os/mount.ts'
import { Scratch } from '../support/scratch.ts'

test('mountsAt() says what is mounted at a path, whatever is in its name', () => {
  assert.ok(mountsAt('/proc').includes('proc'))
  using scratch = new Scratch()
  assert.deepEqual(mountsAt(scratch.path), [])
  const path = `${scratch.path}/a blank, a \\ and a\ttab`
  execFileSync('mkdir', [path])
  mountFileSystem({ source: 'test', path, type: 'tmpfs', options: 'size=4k' })
  mountFileSystem({ source: 'test', path, type: 'tmpfs', options: 'size=4k' })
  try {
    assert.deepEqual(mountsAt(path), ['tmpfs', 'tmpfs'])
    detachMount(path)
    assert.deepEqual(mountsAt(path), ['tmpfs'])
  } finally {
    detachMount(path)
  }
  assert.deepEqual(mountsAt(path), [])
})

test('mountFileSystem() and detachMount() refuse with the errno of the kernel, naming the place', () => {
  using scratch = new Scratch()
  const { path } = scratch
  const mount = { source: 'test', path, type: 'tmpfs', options: '' }
  const nowhere = `${path}/nowhere`
  assert.throws(() => mountFileSystem({ ...mount, path: nowhere }), {
    code: 'ENOENT',
    message: `mount tmpfs at ${nowhere}`,
  })
  assert.throws(() => mountFileSystem({ ...mount, type: 'nofs' }), { code: 'ENODEV' })
  assert.throws(() => mountFileSystem({ ...mount, options: 'size=much' }), { code: 'EINVAL' })
  assert.throws(() => detachMount(path), { code: 'EINVAL', message: `umount ${path}` })
  assert.throws(() => detachMount(nowhere), { code: 'ENOENT' })
})
