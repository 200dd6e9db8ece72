import assert from 'node:assert/strict'
import { fstatSync, ftruncateSync, readFileSync } from 'node:fs'
import { test } from 'node:test'
import { addFileSeals, fdTarget, fileSeals } from '../../src/os/fd.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { assertKeepsFds, Fds } from '../support/fds.ts'

// <linux/fcntl.h>
const F_SEAL_SEAL = 1
const F_SEAL_SHRINK = 2
const F_SEAL_GROW = 4
const F_SEAL_WRITE = 8

test('createMemfd() makes a file of that size and name, not inherited by children', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('guest-memory', 3 * 4096))
  assert.equal(fstatSync(fd).size, 3 * 4096)
  assert.equal(fdTarget(fd), '/memfd:guest-memory (deleted)')
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1]
  assert.equal(Number.parseInt(flags ?? '', 8) & 0o2000000, 0o2000000) // O_CLOEXEC
})

test('createMemfd() seals its size', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('sealed', 8192))
  assert.equal(fileSeals(fd), F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW)
  assert.throws(() => ftruncateSync(fd, 4096), { code: 'EPERM' })
  assert.throws(() => ftruncateSync(fd, 12_288), { code: 'EPERM' })
  assert.equal(addFileSeals(fd, F_SEAL_WRITE), false)
  assert.equal(fstatSync(fd).size, 8192)
})

test('createMemfd() leaves no fd behind when a step fails', () => {
  assertKeepsFds(() => {
    // memfd_create(2): at most 249 bytes of name
    assert.throws(() => createMemfd('x'.repeat(250), 4096), { code: 'EINVAL' })
    assert.throws(() => createMemfd('fraction', 0.5))
  })
})
