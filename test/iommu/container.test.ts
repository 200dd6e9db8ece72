import assert from 'node:assert/strict'
import { ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { Container, type DmaMap } from '../../src/iommu/container.ts'
import type { RemoteMemory } from '../../src/iommu/memory.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { makeBacking } from '../support/backing.ts'
import { assertKeepsFds, duplicate, Fds, isOpen, makeMemfd, makePipe } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096
const TiB = 2 ** 40

/** A client that serves 16 pages of its own from iova 0 on, when told to. */
class Remote implements RemoteMemory {
  readonly bytes = new Uint8Array(16 * PAGE)
  readonly asked: string[] = []
  readonly #held: (() => void)[] = []

  read(iova: number, target: Uint8Array): Promise<void> {
    return this.#later(`read ${iova}+${target.length}`, () => {
      target.set(this.bytes.subarray(iova, iova + target.length))
    })
  }

  write(iova: number, source: Uint8Array): Promise<void> {
    return this.#later(`write ${iova}+${source.length}`, () => this.bytes.set(source, iova))
  }

  /** Does what was asked so far. */
  serve(): void {
    for (const serve of this.#held.splice(0)) serve()
  }

  #later(what: string, serve: () => void): Promise<void> {
    this.asked.push(what)
    return new Promise((resolve) => {
      this.#held.push(() => {
        serve()
        resolve()
      })
    })
  }
}

/** A container with a sealed memfd of 16 pages to map, all of it gone when the `using` scope ends. */
class Setup implements Disposable {
  readonly fds = new Fds()
  readonly scratch = new Scratch()
  readonly memfd = this.fds.own(createMemfd('guest', 16 * PAGE))
  readonly container: Container
  readonly remote = new Remote()

  constructor(maxMaps = 64) {
    this.container = new Container(maxMaps, this.remote)
  }

  /** A map of `pages` from page `first` on, whose fd is a new one. */
  pages(first: number, pages: number, change: Partial<DmaMap> = {}): DmaMap {
    return {
      iova: first * PAGE,
      size: pages * PAGE,
      readable: true,
      writable: true,
      ...change,
      file: change.file ?? { fd: duplicate(this.memfd), offset: 0 },
    }
  }

  /** Maps, and checks that the container has closed the fd or keeps it. */
  map(first: number, pages: number, change: Partial<DmaMap> = {}): void {
    this.container.map(this.pages(first, pages, change))
  }

  /** Fails unless the map is refused so, its fd closed, and all maps as before. */
  refuses(map: DmaMap, code: string): void {
    const { count } = this.container
    assert.throws(() => this.container.map(map), { code })
    assert.equal(this.container.count, count)
    if (map.file !== undefined) assert.equal(isOpen(map.file.fd), false, 'the fd stays open')
  }

  [Symbol.dispose](): void {
    this.container.unmapAll()
    this.fds[Symbol.dispose]()
    this.scratch[Symbol.dispose]()
  }
}

function read(container: Container, iova: number, length: number): string {
  const target = Buffer.alloc(length, 0xee)
  void container.read(iova, target)
  return target.toString('latin1')
}

test('Container.map() makes client memory readable and writable at its iova', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  const map = setup.pages(100, 4, { file: { fd: duplicate(memfd), offset: 2 * PAGE } })
  container.map(map)
  assert.equal(container.count, 1)
  assert.equal(isOpen(map.file?.fd ?? -1), false) // the mapping keeps the file
  writeSync(memfd, 'from the client', 3 * PAGE)
  assert.equal(read(container, 101 * PAGE, 15), 'from the client')
  void container.write(103 * PAGE + 10, Buffer.from('from the device'))
  const bytes = Buffer.alloc(15)
  readSync(memfd, bytes, 0, 15, 5 * PAGE + 10)
  assert.equal(String(bytes), 'from the device')
})

test('Container.map() refuses what is not whole pages with EINVAL', () => {
  using setup = new Setup()
  setup.refuses(setup.pages(1, 0), 'EINVAL')
  setup.refuses(setup.pages(1, 0.5), 'EINVAL')
  setup.refuses(setup.pages(1, 1, { size: PAGE + 1 }), 'EINVAL')
  setup.refuses(setup.pages(1, 1, { iova: 1 }), 'EINVAL')
  setup.refuses(setup.pages(1, 1, { iova: PAGE / 2 }), 'EINVAL')
  setup.refuses(setup.pages(1, 1, { iova: -PAGE }), 'EINVAL')
  setup.refuses(setup.pages(4, 1, { size: -PAGE }), 'EINVAL')
  setup.refuses(setup.pages(1, 1, { iova: Number.NaN }), 'EINVAL')
  setup.refuses(setup.pages(1, 1, { size: Number.NaN }), 'EINVAL')
  for (const offset of [1, PAGE / 2]) {
    setup.refuses(setup.pages(1, 1, { file: { fd: duplicate(setup.memfd), offset } }), 'EINVAL')
  }
})

test('Container.map() refuses a range that wraps with EINVAL, and takes the last that does not', () => {
  using setup = new Setup()
  const last = 2 ** 53 - PAGE
  setup.refuses(setup.pages(0, 1, { iova: last }), 'EINVAL')
  setup.refuses(setup.pages(0, 2, { iova: last - PAGE }), 'EINVAL')
  setup.container.map(setup.pages(0, 1, { iova: last - PAGE }))
  assert.equal(read(setup.container, last - 1, 1), '\0')
  assert.throws(() => read(setup.container, last - 1, 2), { code: 'EFAULT' })
})

test('Container.map() refuses what lies beyond the file with EINVAL', () => {
  using setup = new Setup()
  const { memfd } = setup
  setup.refuses(setup.pages(0, 17), 'EINVAL')
  setup.refuses(setup.pages(0, 1, { file: { fd: duplicate(memfd), offset: 16 * PAGE } }), 'EINVAL')
  setup.refuses(setup.pages(0, 2, { file: { fd: duplicate(memfd), offset: 15 * PAGE } }), 'EINVAL')
  setup.refuses(
    setup.pages(0, 1, { file: { fd: duplicate(memfd), offset: 2 ** 53 - PAGE } }),
    'EINVAL',
  )
  setup.map(0, 16)
})

test('Container.map() refuses what is no memory with EINVAL', () => {
  using setup = new Setup()
  const [reader, writer] = makePipe()
  setup.fds.own(writer)
  const others = [reader, openSync('/', 'r'), openSync('/dev/zero', 'r+')]
  for (const fd of others) setup.refuses(setup.pages(0, 1, { file: { fd, offset: 0 } }), 'EINVAL')
})

test('Container.map() refuses every kind of overlap with EEXIST', () => {
  using setup = new Setup()
  setup.map(10, 4)
  setup.map(20, 4)
  for (const [first, pages] of [
    [10, 3], // its beginning
    [11, 3], // its end
    [11, 2], // inside
    [9, 2], // across its beginning
    [13, 2], // across its end
    [9, 6], // around it
    [10, 5], // and beyond its end
    [9, 5], // and before its beginning
    [12, 10], // across both
    [0, 16], // from far before
  ] as const) {
    setup.refuses(setup.pages(first, pages), 'EEXIST')
  }
  setup.map(14, 6) // between them
  setup.map(9, 1)
  assert.equal(setup.container.count, 4)
})

test('Container.map() takes an identical map again, which changes nothing', () => {
  using setup = new Setup()
  setup.map(10, 4)
  const again = setup.pages(10, 4)
  setup.container.map(again)
  assert.equal(setup.container.count, 1)
  assert.equal(isOpen(again.file?.fd ?? -1), false)
  setup.container.map({ iova: 0, size: PAGE, readable: true, writable: false })
  setup.container.map({ iova: 0, size: PAGE, readable: true, writable: false })
  assert.equal(setup.container.count, 2)
  setup.container.unmap(10 * PAGE, 4 * PAGE)
  assert.throws(() => read(setup.container, 10 * PAGE, 1), { code: 'EFAULT' })
})

test('Container.map() refuses the same range with anything else about it with EEXIST', () => {
  using setup = new Setup()
  setup.map(10, 4)
  const other = setup.fds.own(createMemfd('other', 16 * PAGE))
  setup.refuses(setup.pages(10, 4, { writable: false }), 'EEXIST')
  setup.refuses(setup.pages(10, 4, { readable: false }), 'EEXIST')
  setup.refuses(
    setup.pages(10, 4, { file: { fd: duplicate(setup.memfd), offset: PAGE } }),
    'EEXIST',
  )
  setup.refuses(setup.pages(10, 4, { file: { fd: duplicate(other), offset: 0 } }), 'EEXIST')
  setup.refuses({ iova: 10 * PAGE, size: 4 * PAGE, readable: true, writable: true }, 'EEXIST')
})

test('Container.map() refuses more maps than there may be with ENOSPC', () => {
  using setup = new Setup(3)
  for (const page of [5, 1, 3]) setup.map(page, 1)
  setup.refuses(setup.pages(7, 1), 'ENOSPC')
  setup.map(3, 1) // an identical one is no more
  setup.container.unmap(1 * PAGE, PAGE)
  setup.map(7, 1)
  setup.refuses(setup.pages(9, 1), 'ENOSPC')
})

test('Container.map() refuses more than 8 TiB with ENOSPC', () => {
  using setup = new Setup()
  setup.refuses(setup.pages(0, 1, { size: 8 * TiB + PAGE }), 'ENOSPC')
  const without = { iova: 0, size: 8 * TiB, readable: true, writable: true }
  setup.container.map(without)
  setup.refuses({ ...without, iova: 16 * TiB, size: 8 * TiB + PAGE }, 'ENOSPC')
})

test('Container.map() keeps 256 fds at most for memory that is not mapped, then ENOSPC', () => {
  using setup = new Setup(1000)
  const { container, fds } = setup
  const file = fds.own(makeBacking('unsealable memfd', PAGE, setup.scratch))
  const backed = (page: number) =>
    setup.pages(page, 1, { file: { fd: duplicate(file), offset: 0 } })
  for (let page = 0; page < 256; page++) container.map(backed(page))
  setup.refuses(backed(256), 'ENOSPC')
  setup.map(257, 1) // a mapping keeps none
  container.unmap(7 * PAGE, PAGE)
  container.map(backed(7))
  setup.refuses(backed(256), 'ENOSPC')
  container.unmapAll()
  container.map(backed(256))
})

test('Container.map() refuses more than the file grants with EACCES', () => {
  using setup = new Setup()
  const path = `/proc/self/fd/${setup.memfd}`
  const opened = (flags: string, writable: boolean) =>
    setup.pages(0, 1, { writable, file: { fd: openSync(path, flags), offset: 0 } })
  setup.refuses(opened('r', true), 'EACCES')
  setup.refuses(opened('a', false), 'EACCES') // for writing alone
  setup.container.map(opened('r', false))
  assert.equal(read(setup.container, 0, 3), '\0\0\0')
})

test('a map grants what it says and no more', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(0, 1, { writable: false })
  setup.map(1, 1, { readable: false })
  setup.map(2, 1, { readable: false, writable: false })
  const byte = new Uint8Array(1)
  void container.read(0, byte)
  void container.write(PAGE, byte)
  assert.throws(() => container.write(0, byte), { code: 'EACCES' })
  assert.throws(() => container.read(PAGE, byte), { code: 'EACCES' })
  assert.throws(() => container.view(PAGE, 1), { code: 'EACCES' })
  assert.throws(() => container.read(2 * PAGE, byte), { code: 'EACCES' })
  assert.throws(() => container.write(2 * PAGE, byte), { code: 'EACCES' })
  void container.read(0, byte) // still
})

test('Container.unmap() takes exactly one map, else ENOENT', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(10, 4)
  setup.map(14, 4)
  for (const [first, pages] of [
    [10, 3],
    [11, 3],
    [10, 5],
    [9, 5],
    [10, 8], // both
    [0, 1],
    [100, 4],
    [10, 0],
  ] as const) {
    assert.throws(() => container.unmap(first * PAGE, pages * PAGE), { code: 'ENOENT' })
  }
  assert.equal(container.count, 2)
  container.unmap(10 * PAGE, 4 * PAGE)
  assert.throws(() => container.unmap(10 * PAGE, 4 * PAGE), { code: 'ENOENT' })
  assert.throws(() => read(container, 10 * PAGE, 1), { code: 'EFAULT' })
  assert.equal(read(container, 14 * PAGE, 1), '\0')
})

test('memory that is gone is not found by the shortcut to the last map', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(10, 1)
  assert.equal(read(container, 10 * PAGE, 1), '\0')
  container.unmap(10 * PAGE, PAGE)
  assert.throws(() => read(container, 10 * PAGE, 1), { code: 'EFAULT' })
  setup.map(10, 1)
  assert.equal(read(container, 10 * PAGE, 1), '\0')
  container.unmapAll()
  assert.throws(() => read(container, 10 * PAGE, 1), { code: 'EFAULT' })
})

test('Container.unmapAll() takes all, and may be repeated', () => {
  using setup = new Setup()
  const { container } = setup
  for (const page of [4, 2, 0]) setup.map(page, 1)
  const file = setup.fds.own(makeBacking('file on disk', PAGE, setup.scratch))
  const kept = setup.pages(6, 1, { file: { fd: duplicate(file), offset: 0 } })
  container.map(kept)
  assert.equal(isOpen(kept.file?.fd ?? -1), true)
  const view = container.view(0, 4)
  container.unmapAll()
  container.unmapAll()
  assert.equal(container.count, 0)
  assert.equal(isOpen(kept.file?.fd ?? -1), false)
  writeSync(setup.memfd, 'new', 0)
  assert.deepEqual([...view], [0, 0, 0, 0])
  for (const page of [0, 2, 4, 6]) {
    assert.throws(() => read(container, page * PAGE, 1), { code: 'EFAULT' })
  }
  setup.map(0, 1)
  assert.equal(read(container, 0, 3), 'new')
})

test('Container.read() and write() go across maps, and stop where one ends', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  // backwards: what adjoins by iova does not in the file
  for (const [page, offset] of [
    [10, 3],
    [11, 1],
    [12, 0],
  ] as const) {
    setup.map(page, 1, { file: { fd: duplicate(memfd), offset: offset * PAGE } })
  }
  const pattern = Buffer.from(Array.from({ length: PAGE + 20 }, (_, i) => i % 251))
  void container.write(11 * PAGE - 10, pattern)
  assert.equal(read(container, 11 * PAGE - 10, PAGE + 20), pattern.toString('latin1'))
  const end = Buffer.alloc(10)
  readSync(memfd, end, 0, 10, 4 * PAGE - 10)
  assert.deepEqual(end, pattern.subarray(0, 10))
  readSync(memfd, end, 0, 10, 0)
  assert.deepEqual(end, pattern.subarray(-10))

  assert.throws(() => read(container, 13 * PAGE - 1, 2), { code: 'EFAULT' })
  assert.throws(() => read(container, 10 * PAGE - 1, 2), { code: 'EFAULT' })
  assert.throws(() => container.write(13 * PAGE - 1, pattern), { code: 'EFAULT' })
  void container.read(13 * PAGE, new Uint8Array(0)) // nothing of nowhere
})

test('addresses that are none are EFAULT, whatever was accessed before', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(0, 1)
  const byte = new Uint8Array(1)
  for (let round = 0; round < 2; round++) {
    for (const iova of [-1, -PAGE, Number.NaN, Infinity, PAGE, 2 ** 60]) {
      assert.throws(() => container.read(iova, byte), { code: 'EFAULT' }, `${iova}`)
      assert.throws(() => container.write(iova, byte), { code: 'EFAULT' }, `${iova}`)
      assert.throws(() => container.view(iova, 1), { code: 'EFAULT' }, `${iova}`)
    }
    void container.read(0, byte) // now there is a last map
  }
})

test('Container.view() is client memory itself, inside one map', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  setup.map(0, 2)
  setup.map(2, 2, { file: { fd: duplicate(memfd), offset: 2 * PAGE } })
  const view = container.view(PAGE - 2, 4)
  writeSync(memfd, 'seen', PAGE - 2)
  assert.equal(String(Buffer.from(view)), 'seen')
  view.set(Buffer.from('sent'))
  assert.equal(read(container, PAGE - 2, 4), 'sent')
  assert.equal(container.view(0, 2 * PAGE).length, 2 * PAGE)
  assert.equal(container.view(0, 0).length, 0)
  for (const [iova, length] of [
    [0, 2 * PAGE + 1],
    [2 * PAGE - 1, 2],
    [0, Infinity],
    [0, -1],
    [0, Number.NaN],
  ] as const) {
    assert.throws(() => container.view(iova, length), { code: 'EFAULT' }, `${iova}+${length}`)
  }
})

test('a view reads zeros after unmap, and its stores reach neither the client nor the next map', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  setup.map(0, 1)
  writeSync(memfd, 'secret', 0)
  const view = container.view(0, 6)
  container.unmap(0, PAGE)
  assert.deepEqual([...view], [0, 0, 0, 0, 0, 0])
  setup.map(0, 1)
  view.fill(0xff)
  assert.equal(read(container, 0, 6), 'secret')
  const bytes = Buffer.alloc(6)
  readSync(memfd, bytes, 0, 6, 0)
  assert.equal(String(bytes), 'secret')
})

test('a stray store to a map without writing does not reach the client', () => {
  using setup = new Setup()
  setup.map(0, 2, { writable: false })
  writeSync(setup.memfd, 'original', 0)
  setup.container.view(0, 8).fill(0xff)
  const bytes = Buffer.alloc(8)
  readSync(setup.memfd, bytes, 0, 8, 0)
  assert.equal(String(bytes), 'original')
})

test('a client that cuts its file crashes nobody: what is gone reads as zeros', () => {
  using setup = new Setup()
  const { container, fds, scratch } = setup
  const disk = fds.own(makeBacking('file on disk', 2 * PAGE, scratch))
  const unsealable = fds.own(makeBacking('unsealable memfd', 2 * PAGE, scratch))
  const unsealed = fds.own(makeBacking('unsealed memfd', 2 * PAGE, scratch))
  for (const [i, fd] of [disk, unsealable, unsealed].entries()) {
    setup.map(2 * i, 2, { file: { fd: duplicate(fd), offset: 0 } })
  }
  void container.write(0, Buffer.alloc(6 * PAGE, 0xaa))
  ftruncateSync(disk, 0)
  ftruncateSync(unsealable, PAGE)
  assert.throws(() => ftruncateSync(unsealed, 0), { code: 'EPERM' })
  const target = Buffer.alloc(6 * PAGE, 0x55)
  void container.read(0, target)
  const expected = Buffer.alloc(6 * PAGE, 0xaa)
    .fill(0, 0, 2 * PAGE)
    .fill(0, 3 * PAGE, 4 * PAGE)
  assert.ok(target.equals(expected))
  assert.throws(() => container.view(0, 1), { code: 'EOPNOTSUPP' })
  assert.throws(() => container.view(2 * PAGE, 1), { code: 'EOPNOTSUPP' })
})

test('a map without a file is read and written by the client, and the rest of an access at once', async () => {
  using setup = new Setup()
  const { container, remote } = setup
  container.map({ iova: 0, size: PAGE, readable: true, writable: true })
  container.map(setup.pages(1, 1))
  const sent = Uint8Array.from({ length: 64 }, (_, i) => i + 1)
  const written = container.write(PAGE - 32, sent)
  assert.ok(written instanceof Promise)
  assert.deepEqual(remote.asked, [`write ${PAGE - 32}+32`])
  assert.equal(
    read(container, PAGE, 32),
    Buffer.from(sent.slice(32)).toString('latin1'),
    'the mapped half needs no client',
  )
  remote.serve()
  await written

  const target = new Uint8Array(64)
  const done = container.read(PAGE - 32, target)
  remote.serve()
  await done
  assert.deepEqual(target, sent)
  assert.throws(() => container.view(0, 1), { code: 'EOPNOTSUPP' })
})

test('an access ends when all of its parts have, with the first error', async () => {
  using setup = new Setup()
  const { container } = setup
  container.map({ iova: 0, size: PAGE, readable: true, writable: false })
  container.map({ iova: PAGE, size: PAGE, readable: true, writable: true })
  assert.throws(() => container.write(0, new Uint8Array(1)), { code: 'EACCES' })
  const refusing = new Container(4, {
    read: async (iova) => {
      throw new ErrnoError(iova < PAGE ? 'ENODEV' : 'EIO', 'refused')
    },
    write: async () => {},
  })
  refusing.map({ iova: 0, size: PAGE, readable: true, writable: true })
  refusing.map({ iova: PAGE, size: PAGE, readable: true, writable: true })
  await assert.rejects(async () => refusing.read(PAGE - 1, new Uint8Array(2)), { code: 'ENODEV' })
})

test('containers do not see each other, though they map the same file at the same iova', () => {
  using one = new Setup()
  using other = new Setup()
  one.map(0, 1)
  other.map(0, 1)
  void one.container.write(0, Buffer.from('mine'))
  assert.equal(read(other.container, 0, 4), '\0\0\0\0')
  assert.notEqual(one.container.view(0, 1).buffer, other.container.view(0, 1).buffer)
})

test('any number of maps and unmaps is one after the other, and leaves no fd', () => {
  assertKeepsFds(() => {
    using setup = new Setup()
    for (let i = 0; i < 20_000; i++) {
      setup.map(i % 7, 1)
      void setup.container.write((i % 7) * PAGE, Uint8Array.of(i))
      setup.container.unmap((i % 7) * PAGE, PAGE)
    }
    const memfd = makeMemfd(0) // of no size
    setup.refuses(setup.pages(9, 1, { file: { fd: memfd, offset: 0 } }), 'EINVAL')
  })
})
