import assert from 'node:assert/strict'
import { constants, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { type FileRange, fileIdentity } from '../../src/iommu/client-file.ts'
import { Container } from '../../src/iommu/container.ts'
import { MessageMemory } from '../../src/iommu/message-memory.ts'
import { addFileSeals, fileSeals } from '../../src/os/fd.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { socketPair } from '../../src/os/unix-socket.ts'
import { KINDS, makeBacking, MAPPABLE } from '../support/backing.ts'
import {
  assertKeepsFds,
  duplicate,
  Fds,
  isOpen,
  makeMemfd,
  makePipe,
  MFD_ALLOW_SEALING,
  MFD_HUGETLB,
} from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096
const GiB = 2 ** 30
// <linux/fcntl.h>
const F_SEAL_SHRINK = 2
const F_SEAL_WRITE = 8
const O_PATH = 0o10000000

function contents(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  assert.equal(readSync(fd, bytes, 0, length, offset), length)
  return bytes
}

const UNREACHABLE = {
  read: () => Promise.reject(new Error('no message is sent for memory in a file')),
  write: () => Promise.reject(new Error('no message is sent for memory in a file')),
}

/** A range of a file as the only map of a container, from iova 0 on. Its fd is taken over, also when this throws. */
function open({ fd, offset, size, writable }: FileRange) {
  const container = new Container({ maxMaps: 1, remote: UNREACHABLE })
  container.map({ iova: 0, size, readable: true, writable, file: { fd, offset } })
  const { memory } = container
  return {
    read: memory.read.bind(memory),
    write: memory.write.bind(memory),
    view: memory.view.bind(memory),
    close: () => container.close(),
  }
}

for (const kind of KINDS) {
  test(`a map of ${kind} reads and writes the file, inside its range`, () => {
    using scratch = new Scratch()
    using fds = new Fds()
    const file = fds.own(makeBacking(kind, 4 * PAGE, scratch))
    writeSync(file, 'before', PAGE - 6)
    writeSync(file, 'inside', PAGE)
    const range = { fd: duplicate(file), offset: PAGE, size: 2 * PAGE, writable: true }
    const memory = open(range)

    const target = Buffer.alloc(6)
    void memory.read(0, target)
    assert.equal(String(target), 'inside')
    void memory.write(2 * PAGE - 4, Buffer.from('last'))
    assert.equal(String(contents(file, 3 * PAGE - 4, 4)), 'last')
    writeSync(file, 'theirs', PAGE + 100)
    void memory.read(100, target)
    assert.equal(String(target), 'theirs')
    memory.close()
    assert.equal(isOpen(range.fd), false)
    assert.equal(String(contents(file, PAGE - 6, 6)), 'before')
  })

  test(`Memory.view() of ${kind} ${MAPPABLE.has(kind) ? 'is the file itself' : 'is refused'}`, () => {
    using scratch = new Scratch()
    using fds = new Fds()
    const file = fds.own(makeBacking(kind, 2 * PAGE, scratch))
    const range = { fd: duplicate(file), offset: 0, size: 2 * PAGE, writable: true }
    const memory = open(range)
    if (MAPPABLE.has(kind)) {
      const view = memory.view(PAGE - 2, 4)
      view.set(Buffer.from('view'))
      assert.equal(String(contents(file, PAGE - 2, 4)), 'view')
      memory.close()
      assert.deepEqual([...view], [0, 0, 0, 0])
    } else {
      assert.throws(() => memory.view(0, 4), { code: 'EOPNOTSUPP' })
      memory.close()
    }
  })

  test(`a map of ${kind} for reading leaves the file alone`, () => {
    using scratch = new Scratch()
    using fds = new Fds()
    const file = fds.own(makeBacking(kind, PAGE, scratch))
    writeSync(file, 'read', 0)
    const fd = openSync(`/proc/self/fd/${file}`, 'r')
    const memory = open({ fd, offset: 0, size: PAGE, writable: false })
    const target = Buffer.alloc(4)
    void memory.read(0, target)
    assert.equal(String(target), 'read')
    // what is open for reading alone cannot be sealed either
    if (kind === 'sealed memfd') {
      memory.view(0, 4).fill(0xff) // a stray store
      assert.equal(String(contents(file, 0, 4)), 'read')
    }
    memory.close()
  })
}

test('an unsealed memfd is sealed against shrinking before it is mapped', () => {
  using fds = new Fds()
  const file = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(file, PAGE)
  const memory = open({
    fd: duplicate(file),
    offset: 0,
    size: PAGE,
    writable: true,
  })
  assert.equal(fileSeals(file), F_SEAL_SHRINK)
  assert.throws(() => ftruncateSync(file, 0), { code: 'EPERM' })
  memory.close()
})

for (const kind of KINDS.filter((each) => !MAPPABLE.has(each))) {
  test(`${kind} that the client cuts reads as zeros, and may be written`, () => {
    using scratch = new Scratch()
    using fds = new Fds()
    const file = fds.own(makeBacking(kind, 3 * PAGE, scratch))
    const memory = open({
      fd: duplicate(file),
      offset: PAGE,
      size: 2 * PAGE,
      writable: true,
    })
    void memory.write(0, Buffer.alloc(2 * PAGE, 0xaa))
    ftruncateSync(file, PAGE + 10)
    const target = Buffer.alloc(2 * PAGE, 0x55)
    void memory.read(0, target)
    assert.ok(target.subarray(0, 10).every((byte) => byte === 0xaa))
    assert.ok(target.subarray(10).every((byte) => byte === 0))
    target.fill(0x55)
    ftruncateSync(file, 0)
    void memory.read(PAGE, target.subarray(0, 7))
    assert.deepEqual([...target.subarray(0, 8)], [0, 0, 0, 0, 0, 0, 0, 0x55])
    void memory.write(PAGE, Buffer.from('again'))
    void memory.read(PAGE, target.subarray(0, 5))
    assert.equal(String(target.subarray(0, 5)), 'again')
    memory.close()
  })
}

test('a map refuses what is no file with EINVAL, and closes it', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const [reader, writer] = makePipe()
  const [left, right] = socketPair()
  fds.own(writer)
  fds.own(right)
  const things = {
    pipe: reader,
    socket: left,
    directory: openSync(scratch.path, 'r'),
    '/dev/zero': openSync('/dev/zero', 'r+'),
    '/dev/null': openSync('/dev/null', 'r+'),
  }
  for (const [what, fd] of Object.entries(things)) {
    const range = { fd, offset: 0, size: PAGE, writable: false }
    assert.throws(() => open(range), { code: 'EINVAL' }, what)
    assert.equal(isOpen(fd), false, what)
  }
})

/** Ways in which a range may be wrong, of each kind of file of 4 pages. */
const BAD_RANGES = [
  { what: 'beyond the end', offset: 3 * PAGE, size: 2 * PAGE },
  { what: 'after the end', offset: 4 * PAGE, size: PAGE },
  { what: 'far beyond the end', offset: 0, size: 8 * 1024 * GiB },
  { what: 'that begins near 2^53', offset: 2 ** 53 - PAGE, size: PAGE },
  { what: 'at half a page', offset: PAGE / 2, size: PAGE },
  { what: 'at an odd offset', offset: 1, size: PAGE },
] as const

for (const kind of KINDS) {
  test(`a map refuses bad ranges of ${kind} with EINVAL, and closes it`, () => {
    using scratch = new Scratch()
    using fds = new Fds()
    const file = fds.own(makeBacking(kind, 4 * PAGE, scratch))
    for (const { what, offset, size } of BAD_RANGES) {
      const fd = duplicate(file)
      const range = { fd, offset, size, writable: true }
      assert.throws(() => open(range), { code: 'EINVAL' }, what)
      assert.equal(isOpen(fd), false, what)
    }
  })

  test(`a map refuses ${kind} that was not opened for the access with EACCES`, () => {
    using scratch = new Scratch()
    using fds = new Fds()
    const file = fds.own(makeBacking(kind, PAGE, scratch))
    for (const [flags, writable] of [
      [constants.O_RDONLY, true],
      [constants.O_WRONLY, true],
      [constants.O_WRONLY, false],
      [O_PATH, false],
      [O_PATH, true],
    ] as const) {
      const fd = openSync(`/proc/self/fd/${file}`, flags)
      const range = { fd, offset: 0, size: PAGE, writable }
      assert.throws(() => open(range), { code: 'EACCES' }, `flags ${flags}`)
      assert.equal(isOpen(fd), false)
    }
  })
}

test('a map refuses memory that is sealed against writing with EPERM', () => {
  using fds = new Fds()
  const file = fds.own(makeMemfd(MFD_ALLOW_SEALING))
  ftruncateSync(file, PAGE)
  assert.ok(addFileSeals(file, F_SEAL_WRITE | F_SEAL_SHRINK))
  const fd = duplicate(file)
  const range = { fd, offset: 0, size: PAGE, writable: true }
  assert.throws(() => open(range), { code: 'EPERM' })
  assert.equal(isOpen(fd), false)
  const readOnly = open({ ...range, fd: duplicate(file), writable: false })
  readOnly.close()
})

test('a map refuses huge pages with EOPNOTSUPP, sealed or not', () => {
  for (const flags of [MFD_HUGETLB, MFD_HUGETLB | MFD_ALLOW_SEALING]) {
    const fd = makeMemfd(flags)
    ftruncateSync(fd, GiB)
    const range = { fd, offset: 0, size: PAGE, writable: true }
    assert.throws(() => open(range), { code: 'EOPNOTSUPP' })
    assert.equal(isOpen(fd), false)
  }
})

test('a map refuses a file that pwrite would append to with EINVAL', () => {
  using scratch = new Scratch()
  const fd = openSync(scratch.write('append', '\0'.repeat(PAGE)), 'a+')
  const range = { fd, offset: 0, size: PAGE, writable: true }
  assert.throws(() => open(range), { code: 'EINVAL' })
  assert.equal(isOpen(fd), false)
})

test('a mapping of more than 4 GiB is read and written across its pieces, and viewed within one', () => {
  using fds = new Fds()
  const size = 8 * GiB + PAGE // sparse: takes what is touched
  const file = fds.own(createMemfd('large', size + PAGE))
  const memory = open({
    fd: duplicate(file),
    offset: PAGE,
    size,
    writable: true,
  })
  const target = Buffer.alloc(8)
  for (const boundary of [4 * GiB, 8 * GiB]) {
    void memory.write(boundary - 3, Buffer.from('boundary'))
    assert.equal(String(contents(file, PAGE + boundary - 3, 8)), 'boundary')
    void memory.read(boundary - 3, target)
    assert.equal(String(target), 'boundary')
    assert.equal(String(Buffer.from(memory.view(boundary - 3, 3))), 'bou')
    assert.equal(String(Buffer.from(memory.view(boundary, 5))), 'ndary')
    assert.throws(() => memory.view(boundary - 3, 8), { code: 'EOPNOTSUPP' })
  }
  void memory.write(size - 3, Buffer.from('end'))
  assert.equal(String(contents(file, PAGE + size - 3, 3)), 'end')
  const view = memory.view(4 * GiB, 5)
  memory.close()
  assert.deepEqual([...view], [0, 0, 0, 0, 0])
})

test('a map leaves no fd behind', () => {
  using scratch = new Scratch()
  assertKeepsFds(() => {
    for (const kind of KINDS) {
      const fd = makeBacking(kind, PAGE, scratch)
      const memory = open({ fd, offset: 0, size: PAGE, writable: true })
      void memory.read(0, new Uint8Array(PAGE))
      memory.close()
    }
  })
})

test('MessageMemory asks the client by iova, and says why there is no view', async () => {
  const asked: unknown[][] = []
  const memory = new MessageMemory(
    {
      read: async (...args) => void asked.push(['read', ...args]),
      write: async (...args) => void asked.push(['write', ...args]),
    },
    0x1000,
  )
  const bytes = new Uint8Array(8)
  await memory.read(16, bytes)
  await memory.write(32, bytes)
  assert.deepEqual(asked, [
    ['read', 0x1010, bytes],
    ['write', 0x1020, bytes],
  ])
  assert.match(memory.noView, /shared memory/)
})

test('fileIdentity() is of the file, not of the fd', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const one = fds.own(createMemfd('same', PAGE))
  const other = fds.own(createMemfd('same', PAGE))
  const path = scratch.write('file', '')
  assert.equal(fileIdentity(one), fileIdentity(fds.own(duplicate(one))))
  assert.notEqual(fileIdentity(one), fileIdentity(other))
  assert.equal(
    fileIdentity(fds.own(openSync(path, 'r'))),
    fileIdentity(fds.own(openSync(path, 'w'))),
  )
})
