import assert from 'node:assert/strict'
import { fstatSync, ftruncateSync, readFileSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { addFileSeals, fdTarget, fileSeals } from '../../src/os/fd.ts'
import { copyFile, createMemfd } from '../../src/os/memfd.ts'
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

test('copyFile() copies what was written, as far as it is told, and holes stay holes', () => {
  using fds = new Fds()
  const size = 64 * 2 ** 20
  const [from, to] = ['from', 'to'].map((name) => fds.own(createMemfd(name, size)))
  const data = new Uint8Array(3 * 2 ** 20 + 7).fill(5)
  writeSync(from!, data, 0, data.length, 2 ** 25 + 4096)
  writeSync(from!, Uint8Array.of(1, 2, 3), 0, 3, 0)
  writeSync(from!, Uint8Array.of(4, 5), 0, 2, size - 2)
  copyFile(from!, to!, size - 1)
  const bytes = new Uint8Array(size)
  readSync(to!, bytes, 0, size, 0)
  const expected = new Uint8Array(size)
  expected.set([1, 2, 3])
  expected.set(data, 2 ** 25 + 4096)
  expected[size - 2] = 4
  assert.ok(Buffer.from(bytes.buffer).equals(Buffer.from(expected.buffer)))
  assert.ok(fstatSync(to!).blocks * 512 < size / 2)
})

test('copyFile() of nothing but holes writes nothing', () => {
  using fds = new Fds()
  const [from, to] = ['from', 'to'].map((name) => fds.own(createMemfd(name, 2 ** 20)))
  copyFile(from!, to!, 2 ** 20)
  assert.equal(fstatSync(to!).blocks, 0)
})
