import assert from 'node:assert/strict'
import { ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Arena } from '../../src/os/arena.ts'
import { addressOf } from '../../src/os/ffi.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { ended, start } from '../support/child.ts'
import { assertKeepsFds, Fds, makeMemfd, makePipe, MFD_HUGETLB } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096
const GiB = 2 ** 30

/** The byte at `offset`, read past any mapping of ours. */
function byteAt(fd: number, offset: number): number {
  const byte = new Uint8Array(1)
  assert.equal(readSync(fd, byte, 0, 1, offset), 1)
  return byte[0] ?? -1
}

async function run(program: string): Promise<string[]> {
  const path = fileURLToPath(new URL('./arena-programs.js', import.meta.url))
  const { stdout, stderr, code } = await ended(
    start(process.execPath, ['--expose-gc', path, program]),
  )
  assert.equal(code, 0, stderr)
  return stdout.trim().split('\n')
}

test('Arena.map() shows a file from an offset on, and stores reach it', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('shared', 3 * PAGE))
  writeSync(fd, new Uint8Array([5]), 0, 1, PAGE + 7)
  const mapping = new Arena().map(fd, PAGE, 2 * PAGE, true)
  const { bytes } = mapping
  assert.equal(bytes.length, 2 * PAGE)
  assert.equal(bytes[7], 5)
  writeSync(fd, new Uint8Array([6]), 0, 1, PAGE + 7)
  assert.equal(bytes[7], 6)
  bytes[2 * PAGE - 1] = 9
  assert.equal(byteAt(fd, 3 * PAGE - 1), 9)
  mapping.unmap()
})

test('two mappings of one file are one memory, in one arena and in two', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('coherent', 2 * PAGE))
  const arena = new Arena()
  const views = [arena, arena, new Arena()].map((each) => each.map(fd, PAGE, PAGE, true).bytes)
  for (const [i, view] of views.entries()) {
    view[0] = i + 1
    assert.deepEqual(
      views.map((other) => other[0]),
      [i + 1, i + 1, i + 1],
    )
  }
})

test('Mapping.replace() shows the same range of another file in every view', () => {
  using fds = new Fds()
  const [first, second] = ['first', 'second'].map((name) => fds.own(createMemfd(name, 3 * PAGE)))
  const mapping = new Arena().map(first!, PAGE, 2 * PAGE, true)
  const { bytes } = mapping
  bytes[PAGE] = 1
  writeSync(second!, new Uint8Array([2]), 0, 1, 2 * PAGE)
  mapping.replace(second!)
  assert.equal(bytes[PAGE], 2)
  bytes[PAGE] = 3
  assert.equal(byteAt(first!, 2 * PAGE), 1)
  assert.equal(byteAt(second!, 2 * PAGE), 3)
  mapping.unmap()
  assert.equal(bytes[PAGE], 0)
  assert.throws(() => mapping.replace(first!), { code: 'EINVAL' })
})

test('Mapping.replace() by what cannot be mapped leaves private zeros', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('mapped', PAGE))
  const mapping = new Arena().map(fd, 0, PAGE, true)
  mapping.bytes[0] = 1
  const [read, write] = makePipe()
  fds.own(write)
  assert.throws(() => mapping.replace(fds.own(read)), { code: 'EACCES' })
  assert.equal(mapping.bytes[0], 0)
  mapping.bytes[0] = 2
  assert.equal(byteAt(fd, 0), 1)
  mapping.unmap()
})

test('Arena.map() needs the fd no longer than the call', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('closed', PAGE))
  writeSync(fd, new Uint8Array([42]), 0, 1, 0)
  let view: Uint8Array | undefined
  assertKeepsFds(() => {
    using other = new Fds()
    const again = other.own(openSync(`/proc/self/fd/${fd}`, 'r+'))
    view = new Arena().map(again, 0, PAGE, true).bytes
  })
  assert.equal(view?.[0], 42)
})

test('a stale view reads zeros and its writes go nowhere', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('stale', 3 * PAGE))
  const arena = new Arena()
  const before = arena.map(fd, 0, PAGE, true)
  const stale = arena.map(fd, PAGE, PAGE, true)
  const after = arena.map(fd, 2 * PAGE, PAGE, true)
  before.bytes.fill(1)
  stale.bytes.fill(2)
  after.bytes.fill(3)
  stale.unmap()
  assert.ok(stale.bytes.every((byte) => byte === 0))
  stale.bytes.fill(99)
  assert.equal(byteAt(fd, PAGE), 2) // as it was
  assert.equal(byteAt(fd, 2 * PAGE - 1), 2)
  assert.ok(before.bytes.every((byte) => byte === 1))
  assert.ok(after.bytes.every((byte) => byte === 3))
})

test('Mapping.unmap() twice is once, and its address is not given out again', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('again', PAGE))
  const arena = new Arena()
  const first = arena.map(fd, 0, PAGE, true)
  first.unmap()
  const second = arena.map(fd, 0, PAGE, true)
  first.unmap()
  second.bytes[0] = 7
  assert.equal(byteAt(fd, 0), 7)
  assert.equal(first.bytes[0], 0)
  assert.notEqual(addressOf(first.bytes), addressOf(second.bytes))
})

test('a read-only mapping follows the file, and a stray store neither faults nor reaches it', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const path = scratch.write('read-only', '\0'.repeat(2 * PAGE))
  const writer = fds.own(openSync(path, 'r+'))
  const { bytes } = new Arena().map(fds.own(openSync(path, 'r')), 0, 2 * PAGE, false)
  writeSync(writer, new Uint8Array([1]), 0, 1, 0)
  assert.equal(bytes[0], 1)
  bytes[5] = 77
  assert.equal(byteAt(writer, 5), 0)
  const other = new Arena().map(writer, 0, 2 * PAGE, false)
  assert.equal(other.bytes[5], 0)
  writeSync(writer, new Uint8Array([2]), 0, 1, PAGE)
  assert.equal(bytes[PAGE], 2) // the page that was not stored to
})

test('Arena.map() refuses what is not whole pages up to 4 GiB with EINVAL', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('limits', 5 * GiB))
  const arena = new Arena()
  for (const [offset, length] of [
    [1, PAGE],
    [PAGE / 2, PAGE],
    [0, 0],
    [0, PAGE - 1],
    [0, 100],
    [0, -PAGE],
    [0, 4 * GiB + PAGE],
    [Number.NaN, PAGE],
    [0, Number.NaN],
    [-PAGE, PAGE],
  ] as const) {
    assert.throws(() => arena.map(fd, offset, length, true), { code: 'EINVAL' }, `${offset}`)
  }
  const { bytes } = arena.map(fd, GiB, 4 * GiB, true) // the most, and the last of the file
  bytes[4 * GiB - 1] = 8
  assert.equal(byteAt(fd, 5 * GiB - 1), 8)
  // read only, it may be larger than what is free
  assert.equal(arena.map(fd, GiB, 4 * GiB, false).bytes[4 * GiB - 1], 8)
})

test('Arena.map() passes on what mmap refuses, and the arena is as before', () => {
  using scratch = new Scratch()
  using fds = new Fds()
  const fd = fds.own(createMemfd('before', 2 * PAGE))
  const [reader, writer] = makePipe()
  fds.own(reader)
  fds.own(writer)
  const readOnly = fds.own(openSync(scratch.write('file', '\0'.repeat(PAGE)), 'r'))
  const directory = fds.own(openSync('/', 'r'))
  const arena = new Arena()
  const first = arena.map(fd, 0, PAGE, true)
  assertKeepsFds(() => {
    assert.throws(() => arena.map(reader, 0, PAGE, true), { code: /^(ENODEV|EACCES)$/ })
    assert.throws(() => arena.map(directory, 0, PAGE, false), { code: 'ENODEV' })
    assert.throws(() => arena.map(readOnly, 0, PAGE, true), { code: 'EACCES' })
  })
  const second = arena.map(fd, PAGE, PAGE, true)
  assert.equal(addressOf(second.bytes), addressOf(first.bytes) + PAGE)
  first.bytes[0] = 1
  second.bytes[0] = 2
  assert.deepEqual([byteAt(fd, 0), byteAt(fd, PAGE)], [1, 2])
})

test('Arena.map() refuses huge pages with EOPNOTSUPP, which would reach beyond the window', () => {
  using fds = new Fds()
  const fd = fds.own(makeMemfd(MFD_HUGETLB))
  ftruncateSync(fd, 2 * GiB)
  assert.throws(() => new Arena().map(fd, 0, PAGE, true), { code: 'EOPNOTSUPP' })
})

test('arenas do not share windows, small mappings of one arena do', () => {
  using fds = new Fds()
  const fd = fds.own(createMemfd('windows', PAGE))
  const [one, other] = [new Arena(), new Arena()]
  const a = one.map(fd, 0, PAGE, true).bytes
  const b = one.map(fd, 0, PAGE, true).bytes
  const c = other.map(fd, 0, PAGE, true).bytes
  assert.equal(a.buffer, b.buffer)
  assert.notEqual(a.buffer, c.buffer)
  const distance = Math.abs(addressOf(c) - addressOf(a))
  assert.ok(distance >= a.buffer.byteLength, `${distance}`)
})

test('a window lives as long as a view of it, and is given back afterwards', async () => {
  assert.deepEqual(await run('collect'), ['true', '0', 'false'])
})

test('Mapping.unmap alone keeps the window', async () => {
  assert.deepEqual(await run('unmap'), ['true', 'true'])
})

test('Arena.map() refuses with ENOSPC before the process runs out of mappings', async () => {
  // Linux, vm.max_map_count: 65530
  const [first, garbage, second, later] = await run('exhaust')
  assert.ok(Number(first) > 8000 && Number(first) < 32_000, first)
  assert.equal(garbage, '100000') // V8 still gets memory
  assert.equal(second, '1')
  assert.equal(later, 'true')
})
