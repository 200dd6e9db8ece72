import assert from 'node:assert/strict'
import { constants, ftruncateSync, openSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import {
  addFileSeals,
  closeFd,
  fdFlags,
  fdTarget,
  fileSeals,
  isHugePageFile,
  setFdFlags,
} from '../../src/os/fd.ts'
import {
  assertKeepsFds,
  Fds,
  makeMemfd,
  makePipe,
  MFD_ALLOW_SEALING,
  MFD_HUGETLB,
} from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const O_NONBLOCK = 0o4000
// <linux/fcntl.h>
const F_SEAL_SEAL = 1
const F_SEAL_SHRINK = 2

test('closeFd() closes, and neither a second time nor -1 throws', () => {
  const [reader, writer] = makePipe()
  closeFd(reader)
  assert.throws(() => writeSync(writer, 'x'), { code: 'EPIPE' })
  closeFd(writer)
  assertKeepsFds(() => {
    closeFd(writer)
    closeFd(-1)
  })
})

test('setFdFlags() changes what fdFlags() reads', () => {
  using fds = new Fds()
  const [reader, writer] = makePipe()
  fds.own(reader)
  fds.own(writer)
  assert.equal(fdFlags(reader) & 3, 0) // O_RDONLY
  assert.equal(fdFlags(writer) & 3, 1) // O_WRONLY
  assert.equal(fdFlags(reader) & O_NONBLOCK, 0)
  setFdFlags(reader, fdFlags(reader) | O_NONBLOCK)
  assert.equal(fdFlags(reader) & O_NONBLOCK, O_NONBLOCK)
})

test('fdFlags() and setFdFlags() throw EBADF for what is no fd', () => {
  assert.throws(() => fdFlags(-1), { code: 'EBADF' })
  assert.throws(() => setFdFlags(-1, 0), { code: 'EBADF' })
})

test('fdTarget() is a path, or what the kernel calls the thing', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const path = scratch.write('file', '')
  assert.equal(fdTarget(fds.own(openSync(path, 'r'))), path)
  const [reader, writer] = makePipe()
  fds.own(writer)
  assert.match(fdTarget(fds.own(reader)), /^pipe:\[\d+\]$/)
})

test('fileSeals() and addFileSeals() tell memfds from files that cannot be sealed', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const memfd = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  assert.equal(fileSeals(memfd), 0)
  assert.equal(addFileSeals(memfd, F_SEAL_SHRINK), true)
  assert.equal(fileSeals(memfd), F_SEAL_SHRINK)

  const unsealable = fds.own(makeMemfd(0))
  assert.equal(fileSeals(unsealable), F_SEAL_SEAL)
  assert.equal(addFileSeals(unsealable, F_SEAL_SHRINK), false)

  const [reader, writer] = makePipe()
  fds.own(writer)
  assert.equal(fileSeals(fds.own(reader)), undefined)
  const file = fds.own(openSync(scratch.write('file', ''), constants.O_RDWR))
  assert.equal(addFileSeals(file, F_SEAL_SHRINK), false)
})

test('isHugePageFile() is true of hugetlbfs alone', () => {
  using fds = new Fds()
  const huge = fds.own(makeMemfd(MFD_HUGETLB)) // takes no page until it is mapped
  ftruncateSync(huge, 2 ** 30)
  assert.equal(isHugePageFile(huge), true)
  assert.equal(isHugePageFile(fds.own(makeMemfd(0))), false)
})
