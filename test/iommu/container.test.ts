import assert from 'node:assert/strict'
import { ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { test } from 'node:test'
import { Container } from '../../src/iommu/container.ts'
import type { DmaMap } from '../../src/iommu/map-entry.ts'
import type { RemoteMemory } from '../../src/iommu/memory.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { createMemfd } from '../../src/os/memfd.ts'
import { makeBacking } from '../support/backing.ts'
import {
  assertKeepsFds,
  duplicate,
  Fds,
  isOpen,
  makeMemfd,
  makePipe,
  MFD_ALLOW_SEALING,
} from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'
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
    this.container = new Container({ maxMaps, remote: this.remote })
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
    this.container.close()
    this.fds[Symbol.dispose]()
    this.scratch[Symbol.dispose]()
  }
}

function read(container: Container, iova: number, length: number): string {
  const target = Buffer.alloc(length, 0xee)
  void container.memory.read(iova, target)
  return target.toString('latin1')
}

test('Container.map() makes client memory readable and writable at its iova', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  const map = setup.pages(100, 4, { file: { fd: duplicate(memfd), offset: 2 * PAGE } })
  container.map(map)
  assert.equal(container.count, 1)
  writeSync(memfd, 'from the client', 3 * PAGE)
  assert.equal(read(container, 101 * PAGE, 15), 'from the client')
  void container.memory.write(103 * PAGE + 10, Buffer.from('from the device'))
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
  void setup.container.unmap(10 * PAGE, 4 * PAGE)
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
  void setup.container.unmap(1 * PAGE, PAGE)
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

test('Container.map() keeps 256 files at most, however many maps they back, then ENOSPC', () => {
  using setup = new Setup(1000)
  const { container, fds } = setup
  const file = () => fds.own(makeBacking('unsealable memfd', PAGE, setup.scratch))
  const backed = (page: number, fd: number) =>
    setup.pages(page, 1, { file: { fd: duplicate(fd), offset: 0 } })
  const files = Array.from({ length: 256 }, file)
  for (const [page, fd] of files.entries()) container.map(backed(page, fd))
  setup.refuses(backed(300, file()), 'ENOSPC')
  setup.refuses(setup.pages(300, 1), 'ENOSPC') // one that is mapped keeps an fd as well
  container.map(backed(300, files[7]!))
  void container.unmap(7 * PAGE, PAGE)
  setup.refuses(backed(301, file()), 'ENOSPC') // the seventh is still in use
  void container.unmap(300 * PAGE, PAGE)
  container.map(backed(301, file()))
  void container.unmapAll()
  container.map(backed(301, file()))
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
  void container.memory.read(0, byte)
  void container.memory.write(PAGE, byte)
  assert.throws(() => container.memory.write(0, byte), { code: 'EACCES' })
  assert.throws(() => container.memory.read(PAGE, byte), { code: 'EACCES' })
  assert.throws(() => container.memory.view(PAGE, 1), { code: 'EACCES' })
  assert.throws(() => container.memory.read(2 * PAGE, byte), { code: 'EACCES' })
  assert.throws(() => container.memory.write(2 * PAGE, byte), { code: 'EACCES' })
  void container.memory.read(0, byte) // still
})

// type1 version 2, as the kernel does it: reference, transcript 5.1
test('Container.unmap() takes all maps in its range, and says how large they were', () => {
  using setup = new Setup()
  const { container } = setup
  const unmap = (first: number, pages: number) => container.unmap(first * PAGE, pages * PAGE)
  for (const [first, pages] of [
    [10, 4],
    [14, 1],
    [20, 2],
    [40, 1],
  ] as const) {
    setup.map(first, pages)
  }
  assert.equal(unmap(0, 10), 0)
  assert.equal(unmap(16, 4), 0)
  assert.equal(unmap(1000, 1), 0)
  assert.equal(unmap(9, 13), 7 * PAGE)
  assert.equal(container.count, 1)
  for (const page of [10, 14, 21]) {
    assert.throws(() => read(container, page * PAGE, 1), { code: 'EFAULT' })
  }
  assert.equal(read(container, 40 * PAGE, 1), '\0')
  assert.equal(unmap(40, 1), PAGE)
  assert.equal(unmap(40, 1), 0)
})

test('Container.unmap() refuses to cut a map at either end with EINVAL, and takes none', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(10, 4)
  setup.map(14, 4)
  for (const [first, pages] of [
    [10, 3], // front part
    [11, 3], // back part
    [11, 2], // middle
    [9, 3], // from before
    [13, 5], // across both
    [10, 6], // the first, and a part of the next
    [0, 12],
    [12, 100],
  ] as const) {
    const range = `${first}+${pages}`
    assert.throws(() => container.unmap(first * PAGE, pages * PAGE), { code: 'EINVAL' }, range)
  }
  for (const [iova, size] of [
    [10 * PAGE, 0],
    [10 * PAGE, PAGE - 1],
    [10 * PAGE + 1, PAGE],
    [10 * PAGE, -PAGE],
    [-PAGE, PAGE],
    [2 ** 53 - PAGE, 2 * PAGE],
    [Number.NaN, PAGE],
    [0, Infinity],
  ] as const) {
    assert.throws(() => container.unmap(iova, size), { code: 'EINVAL' }, `${iova}+${size}`)
  }
  assert.equal(container.count, 2)
  assert.equal(container.unmap(10 * PAGE, 8 * PAGE), 8 * PAGE)
})

test('Container.isMap() knows the exact range of a map', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(10, 4)
  setup.map(14, 4)
  const found = [10, 9, 11, 14].map((first) =>
    [3, 4, 5, 8].filter((pages) => container.isMap(first * PAGE, pages * PAGE)),
  )
  assert.deepEqual(found, [[4], [], [], [4]])
})

test('GuestMemory.maps() says what is mapped, by iova', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(9, 1, { writable: false })
  setup.map(2, 3)
  container.map({ iova: 0, size: PAGE, readable: false, writable: true })
  assert.deepEqual(container.memory.maps(), [
    { iova: 0, size: PAGE, readable: false, writable: true },
    { iova: 2 * PAGE, size: 3 * PAGE, readable: true, writable: true },
    { iova: 9 * PAGE, size: PAGE, readable: true, writable: false },
  ])
  void container.unmapAll()
  assert.deepEqual(container.memory.maps(), [])
})

/** How often a file of this name is mapped to be shared. */
function mappingsOf(name: string): number {
  return resourcesOf().shared.filter((path) => path.includes(name)).length
}

test('a file is mapped once, whoever maps how many parts of it, and goes with the last of them', () => {
  using one = new Setup()
  using other = new Setup()
  const file = one.fds.own(createMemfd('mapped-once', 16 * PAGE))
  const readOnly = one.fds.own(openSync(`/proc/self/fd/${file}`, 'r'))
  const part = (page: number, fd = file) => ({ file: { fd: duplicate(fd), offset: page * PAGE } })
  assertKeepsFds(() => {
    for (let page = 0; page < 16; page++) one.map(page, 1, part(15 - page))
    other.map(3, 4, part(2))
    for (let page = 0; page < 16; page++)
      void one.container.memory.read(page * PAGE, new Uint8Array(9))
    assert.equal(mappingsOf('mapped-once'), 1)
    other.map(20, 1, { ...part(0, readOnly), writable: false })
    assert.equal(read(other.container, 20 * PAGE, 1), '\0')
    assert.equal(mappingsOf('mapped-once'), 2) // whoever may only read has no mapping to write through
    void one.container.memory.write(13 * PAGE, Buffer.from('shared'))
    assert.equal(read(other.container, 3 * PAGE, 6), 'shared')
    void one.container.unmapAll()
    assert.equal(read(other.container, 3 * PAGE, 6), 'shared')
    void other.container.unmapAll()
    assert.equal(mappingsOf('mapped-once'), 0)
  })
})

test('a file that grows can be mapped further, and what was mapped stays', () => {
  using setup = new Setup()
  const { container } = setup
  const file = setup.fds.own(makeMemfd(MFD_ALLOW_SEALING))
  const part = (page: number) => ({ file: { fd: duplicate(file), offset: page * PAGE } })
  ftruncateSync(file, PAGE)
  setup.map(0, 1, part(0))
  void container.memory.write(0, Buffer.from('small'))
  setup.refuses(setup.pages(1, 1, part(1)), 'EINVAL')
  ftruncateSync(file, 9 * PAGE)
  setup.map(1, 8, part(1))
  void container.memory.write(9 * PAGE - 5, Buffer.from('large'))
  assert.equal(read(container, 0, 5), 'small')
  assert.equal(read(container, 9 * PAGE - 5, 5), 'large')
  const bytes = Buffer.alloc(5)
  readSync(file, bytes, 0, 5, 9 * PAGE - 5)
  assert.equal(String(bytes), 'large')
})

test('a sparse file of 8 TiB can be mapped as one', () => {
  using setup = new Setup()
  const { container } = setup
  const file = setup.fds.own(createMemfd('sparse', 8 * TiB))
  container.map({
    iova: 0,
    size: 8 * TiB,
    readable: true,
    writable: true,
    file: { fd: duplicate(file), offset: 0 },
  })
  void container.memory.write(8 * TiB - 3, Buffer.from('end'))
  assert.equal(read(container, 8 * TiB - 3, 3), 'end')
})

test('a view reads zeros after unmap, though another map still has the file', () => {
  using one = new Setup()
  using other = new Setup()
  const file = one.fds.own(createMemfd('kept', PAGE))
  const part = { file: { fd: duplicate(file), offset: 0 } }
  one.map(0, 1, part)
  other.map(0, 1, { file: { fd: duplicate(file), offset: 0 } })
  void other.container.memory.write(0, Buffer.from('secret'))
  const view = one.container.memory.view(0, 6)
  assert.equal(String(Buffer.from(view)), 'secret')
  void one.container.unmapAll()
  assert.deepEqual([...view], [0, 0, 0, 0, 0, 0])
  view.fill(0xff)
  assert.equal(read(other.container, 0, 6), 'secret')
})

test('memory that is gone is not found by the shortcut to the last map', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(10, 1)
  assert.equal(read(container, 10 * PAGE, 1), '\0')
  void container.unmap(10 * PAGE, PAGE)
  assert.throws(() => read(container, 10 * PAGE, 1), { code: 'EFAULT' })
  setup.map(10, 1)
  assert.equal(read(container, 10 * PAGE, 1), '\0')
  void container.unmapAll()
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
  const view = container.memory.view(0, 4)
  void container.unmapAll()
  void container.unmapAll()
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
  void container.memory.write(11 * PAGE - 10, pattern)
  assert.equal(read(container, 11 * PAGE - 10, PAGE + 20), pattern.toString('latin1'))
  const end = Buffer.alloc(10)
  readSync(memfd, end, 0, 10, 4 * PAGE - 10)
  assert.deepEqual(end, pattern.subarray(0, 10))
  readSync(memfd, end, 0, 10, 0)
  assert.deepEqual(end, pattern.subarray(-10))

  assert.throws(() => read(container, 13 * PAGE - 1, 2), { code: 'EFAULT' })
  assert.throws(() => read(container, 10 * PAGE - 1, 2), { code: 'EFAULT' })
  assert.throws(() => container.memory.write(13 * PAGE - 1, pattern), { code: 'EFAULT' })
  void container.memory.read(13 * PAGE, new Uint8Array(0)) // nothing of nowhere
})

test('addresses that are none are EFAULT, whatever was accessed before', () => {
  using setup = new Setup()
  const { container } = setup
  setup.map(0, 1)
  const byte = new Uint8Array(1)
  for (let round = 0; round < 2; round++) {
    for (const iova of [-1, -PAGE, Number.NaN, Infinity, PAGE, 2 ** 60]) {
      assert.throws(() => container.memory.read(iova, byte), { code: 'EFAULT' }, `${iova}`)
      assert.throws(() => container.memory.write(iova, byte), { code: 'EFAULT' }, `${iova}`)
      assert.throws(() => container.memory.view(iova, 1), { code: 'EFAULT' }, `${iova}`)
    }
    void container.memory.read(0, byte) // now there is a last map
  }
})

test('Container.view() is client memory itself, inside one map', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  setup.map(0, 2)
  setup.map(2, 2, { file: { fd: duplicate(memfd), offset: 2 * PAGE } })
  const view = container.memory.view(PAGE - 2, 4)
  writeSync(memfd, 'seen', PAGE - 2)
  assert.equal(String(Buffer.from(view)), 'seen')
  view.set(Buffer.from('sent'))
  assert.equal(read(container, PAGE - 2, 4), 'sent')
  assert.equal(container.memory.view(0, 2 * PAGE).length, 2 * PAGE)
  assert.equal(container.memory.view(0, 0).length, 0)
  for (const [iova, length] of [
    [0, 2 * PAGE + 1],
    [2 * PAGE - 1, 2],
    [0, Infinity],
    [0, -1],
    [0, Number.NaN],
  ] as const) {
    assert.throws(
      () => container.memory.view(iova, length),
      { code: 'EFAULT' },
      `${iova}+${length}`,
    )
  }
})

test('a view reads zeros after unmap, and its stores reach neither the client nor the next map', () => {
  using setup = new Setup()
  const { container, memfd } = setup
  setup.map(0, 1)
  writeSync(memfd, 'secret', 0)
  const view = container.memory.view(0, 6)
  void container.unmap(0, PAGE)
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
  setup.container.memory.view(0, 8).fill(0xff)
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
  void container.memory.write(0, Buffer.alloc(6 * PAGE, 0xaa))
  ftruncateSync(disk, 0)
  ftruncateSync(unsealable, PAGE)
  assert.throws(() => ftruncateSync(unsealed, 0), { code: 'EPERM' })
  const target = Buffer.alloc(6 * PAGE, 0x55)
  void container.memory.read(0, target)
  const expected = Buffer.alloc(6 * PAGE, 0xaa)
    .fill(0, 0, 2 * PAGE)
    .fill(0, 3 * PAGE, 4 * PAGE)
  assert.ok(target.equals(expected))
  assert.throws(() => container.memory.view(0, 1), { code: 'EOPNOTSUPP' })
  assert.throws(() => container.memory.view(2 * PAGE, 1), { code: 'EOPNOTSUPP' })
})

test('a map without a file is read and written by the client, and the rest of an access at once', async () => {
  using setup = new Setup()
  const { container, remote } = setup
  container.map({ iova: 0, size: PAGE, readable: true, writable: true })
  container.map(setup.pages(1, 1))
  const sent = Uint8Array.from({ length: 64 }, (_, i) => i + 1)
  const written = container.memory.write(PAGE - 32, sent)
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
  const done = container.memory.read(PAGE - 32, target)
  remote.serve()
  await done
  assert.deepEqual(target, sent)
  assert.throws(() => container.memory.view(0, 1), { code: 'EOPNOTSUPP' })
})

test('an access ends when all of its parts have, with the first error', async () => {
  using setup = new Setup()
  const { container } = setup
  container.map({ iova: 0, size: PAGE, readable: true, writable: false })
  container.map({ iova: PAGE, size: PAGE, readable: true, writable: true })
  assert.throws(() => container.memory.write(0, new Uint8Array(1)), { code: 'EACCES' })
  const refusing = new Container({
    maxMaps: 4,
    remote: {
      read: async (iova) => {
        throw new ErrnoError(iova < PAGE ? 'ENODEV' : 'EIO', 'refused')
      },
      write: async () => {},
    },
  })
  refusing.map({ iova: 0, size: PAGE, readable: true, writable: true })
  refusing.map({ iova: PAGE, size: PAGE, readable: true, writable: true })
  await assert.rejects(async () => refusing.memory.read(PAGE - 1, new Uint8Array(2)), {
    code: 'ENODEV',
  })
})

test('containers do not see each other, though they map the same file at the same iova', () => {
  using one = new Setup()
  using other = new Setup()
  one.map(0, 1)
  other.map(0, 1)
  void one.container.memory.write(0, Buffer.from('mine'))
  assert.equal(read(other.container, 0, 4), '\0\0\0\0')
  assert.notEqual(one.container.memory.view(0, 1).buffer, other.container.memory.view(0, 1).buffer)
})

test('any number of maps and unmaps is one after the other, and leaves no fd', () => {
  assertKeepsFds(() => {
    using setup = new Setup()
    for (let i = 0; i < 20_000; i++) {
      setup.map(i % 7, 1)
      void setup.container.memory.write((i % 7) * PAGE, Uint8Array.of(i))
      void setup.container.unmap((i % 7) * PAGE, PAGE)
    }
    const memfd = makeMemfd(0) // of no size
    setup.refuses(setup.pages(9, 1, { file: { fd: memfd, offset: 0 } }), 'EINVAL')
  })
})
