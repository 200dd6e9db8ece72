import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { Container } from '../../src/iommu/container.ts'
import { bitmapSize, DirtyLog, type IovaRange } from '../../src/iommu/dirty-log.ts'
import { PageSet } from '../../src/iommu/page-set.ts'
import type { RemoteMemory } from '../../src/iommu/memory.ts'
import { KINDS, makeBacking, MAPPABLE } from '../support/backing.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096
const MiB = 2 ** 20
const TiB = 2 ** 40

/** Numbers of the bits that are set, LSB first. */
function bitsOf(bitmap: Uint8Array): number[] {
  return [...bitmap].flatMap((byte, at) =>
    [0, 1, 2, 3, 4, 5, 6, 7].filter((bit) => (byte >> bit) & 1).map((bit) => 8 * at + bit),
  )
}

// section 14.1 of the protocol reference: ceil(pages / 64) * 8 bytes
for (const [length, pageSize, expected] of [
  [PAGE, PAGE, 8],
  [64 * PAGE, PAGE, 8],
  [65 * PAGE, PAGE, 16],
  [128 * PAGE, PAGE, 16],
  [PAGE, 2 * MiB, 8],
  [512 * MiB, PAGE, 16384],
  [8 * TiB, PAGE, 256 * MiB],
] as const) {
  test(`bitmapSize() of ${length} bytes in pages of ${pageSize} is ${expected}`, () => {
    assert.equal(bitmapSize(length, pageSize), expected)
  })
}

/** Pages of `set` in `count` pages from page `first` on. */
function pagesOf(set: PageSet, first: number, count: number): number[] {
  const bitmap = new Uint8Array(bitmapSize(count * PAGE, PAGE))
  const start = first * PAGE
  set.copyTo(bitmap, start, PAGE, start, start + count * PAGE)
  return bitsOf(bitmap).map((bit) => first + bit)
}

describe('PageSet', () => {
  test('holds every page that its bytes touch, and no other', () => {
    const set = new PageSet()
    set.add(3 * PAGE - 1, 2)
    set.add(7 * PAGE, PAGE)
    set.add(9 * PAGE + 5, 0)
    assert.deepEqual(pagesOf(set, 0, 100), [2, 3, 7])
    assert.deepEqual(pagesOf(set, 3, 4), [3])
  })

  test('is a set of pages, whatever is added and taken out, across chunks and beyond 2^32 pages', () => {
    const bases = fc.constantFrom(0, 32_768 - 40, 2 ** 32 - 40, 2 ** 41 - 200_000)
    const steps = fc.array(
      fc.tuple(
        fc.constantFrom('add', 'delete'),
        fc.nat(99_000),
        fc.oneof(fc.nat(80), fc.nat(70_000)),
        fc.nat(PAGE - 1),
      ),
      { maxLength: 12 },
    )
    fc.assert(
      fc.property(bases, steps, fc.nat(99_000), fc.nat(70_000), (base, all, first, count) => {
        const set = new PageSet()
        const model = new Set<number>()
        for (const [action, at, pages, offset] of all) {
          const start = base + at
          if (action === 'add') {
            if (pages > 0) set.add(start * PAGE + offset, pages * PAGE - offset)
            for (let page = start; page < start + pages; page++) model.add(page)
          } else {
            set.delete(start * PAGE, pages * PAGE)
            for (let page = start; page < start + pages; page++) model.delete(page)
          }
        }
        const from = base + first
        const expected = [...model].filter((page) => page >= from && page < from + count)
        assert.deepEqual(
          pagesOf(set, from, count),
          expected.toSorted((a, b) => a - b),
        )
      }),
      { numRuns: 200 },
    )
  })

  test('folds pages into larger ones', () => {
    const set = new PageSet()
    for (const page of [0, 3, 4, 11]) set.add(page * PAGE, 1)
    const bitmap = new Uint8Array(8)
    set.copyTo(bitmap, 0, 4 * PAGE, 0, 16 * PAGE)
    assert.deepEqual(bitsOf(bitmap), [0, 1, 2])
  })

  test('has all pages once it has grown to 4096 chunks, instead of growing on', () => {
    const set = new PageSet()
    const chunk = 128 * MiB
    for (let i = 0; i < 4096; i++) set.add(i * chunk, 1)
    assert.deepEqual(pagesOf(set, 32_768, 3), [32_768])
    set.add(4096 * chunk, 1)
    assert.deepEqual(pagesOf(set, 32_768, 3), [32_768, 32_769, 32_770])
    set.delete(0, 4096 * chunk)
    assert.deepEqual(pagesOf(set, 5, 2), [5, 6], 'it does not know which are left')
    set.clear()
    assert.deepEqual(pagesOf(set, 0, 100), [])
  })
})

function reportOf(log: DirtyLog, first: number, pages: number, pageSize = PAGE): number[] {
  const bitmap = new Uint8Array(bitmapSize(pages * PAGE, pageSize))
  log.report(first * PAGE, pages * PAGE, pageSize, bitmap)
  return bitsOf(bitmap)
}

const range = (first: number, pages: number): IovaRange => ({
  iova: first * PAGE,
  length: pages * PAGE,
})

describe('DirtyLog', () => {
  test('reports a written page once', () => {
    const log = new DirtyLog()
    log.start([], PAGE)
    log.wrote(5 * PAGE, 1)
    assert.deepEqual(reportOf(log, 4, 4), [1])
    assert.deepEqual(reportOf(log, 4, 4), [])
  })

  test('knows nothing of writes before it was started, or after it was stopped', () => {
    const log = new DirtyLog()
    log.wrote(0, 1)
    log.start([], PAGE)
    assert.deepEqual(reportOf(log, 0, 4), [])
    log.wrote(0, 1)
    log.stop()
    assert.throws(() => reportOf(log, 0, 4), { code: 'EINVAL' })
    log.start([], PAGE)
    assert.deepEqual(reportOf(log, 0, 4), [])
  })

  test('reports what was viewed, even before the start, until it is unmapped', () => {
    const log = new DirtyLog()
    log.hold(2 * PAGE, 1)
    log.start([], PAGE)
    log.hold(3 * PAGE, 1)
    for (let i = 0; i < 3; i++) assert.deepEqual(reportOf(log, 0, 8), [2, 3])
    log.forget(2 * PAGE, PAGE)
    assert.deepEqual(reportOf(log, 0, 8), [3])
    log.forgetAll()
    assert.deepEqual(reportOf(log, 0, 8), [])
  })

  test('reports its ranges alone', () => {
    const log = new DirtyLog()
    log.start([range(6, 2), range(1, 2)], PAGE)
    log.wrote(0, 10 * PAGE)
    assert.deepEqual(reportOf(log, 0, 10), [1, 2, 6, 7])
    log.wrote(0, 10 * PAGE)
    assert.deepEqual(reportOf(log, 2, 5), [0, 4])
    log.stop()
    log.start([], PAGE)
    log.wrote(9 * PAGE, 1)
    assert.deepEqual(reportOf(log, 0, 10), [9], 'ranges end with their log')
  })

  const most = Array.from({ length: 256 }, (_, i) => range(2 * i, 1))
  for (const [title, ranges, pageSize] of [
    ['a page size of 0', [], 0],
    ['a page size of 4097', [], PAGE + 1],
    ['a page size of 12 KiB', [], 3 * PAGE],
    ['an empty range', [range(1, 0)], PAGE],
    ['a range that starts within a page', [{ iova: 1, length: PAGE }], PAGE],
    ['a range that ends within a page', [{ iova: 0, length: PAGE + 1 }], PAGE],
    ['a range of half a page that is asked for', [range(1, 1)], 2 * PAGE],
    ['a range of pages smaller than ours', [{ iova: 512, length: 512 }], 512],
    ['a range that wraps', [{ iova: 2 ** 53 - PAGE, length: PAGE }], PAGE],
    ['overlapping ranges', [range(4, 4), range(0, 5)], PAGE],
    ['equal ranges', [range(4, 4), range(4, 4)], PAGE],
    ['257 ranges', [...most, range(600, 1)], PAGE],
  ] as const satisfies readonly (readonly [string, readonly IovaRange[], number])[]) {
    test(`is not started with ${title}: EINVAL`, () => {
      const log = new DirtyLog()
      assert.throws(() => log.start(ranges, pageSize), { code: 'EINVAL' })
      assert.equal(log.isOn, false)
    })
  }

  test('is started with 256 ranges, with ranges that touch, with small pages', () => {
    for (const [ranges, pageSize] of [
      [most, PAGE],
      [[range(0, 2), range(2, 2)], 2 * PAGE],
      [[range(1, 1)], 1],
    ] as const) {
      const log = new DirtyLog()
      log.start(ranges, pageSize)
      assert.equal(log.isOn, true)
    }
  })

  test('is not started twice: EINVAL, and it goes on', () => {
    const log = new DirtyLog()
    log.start([], PAGE)
    log.wrote(0, 1)
    assert.throws(() => log.start([], PAGE), { code: 'EINVAL' })
    assert.deepEqual(reportOf(log, 0, 1), [0])
  })

  test('stops twice', () => {
    const log = new DirtyLog()
    log.stop()
    log.stop()
    assert.equal(log.isOn, false)
  })
})

const REMOTE: RemoteMemory = { read: async () => {}, write: async () => {} }

/** A container with 16 pages at 16 pages, and 16 pages without a file at 64. */
class Setup implements Disposable {
  readonly scratch = new Scratch()
  readonly container = new Container({ maxMaps: 8, remote: REMOTE })

  constructor(kind: (typeof KINDS)[number] = 'sealed memfd', writable = true) {
    this.map(16, 16, kind, writable)
    const { iova, length: size } = range(64, 16)
    this.container.map({ iova, size, readable: true, writable: true })
  }

  map(first: number, pages: number, kind: (typeof KINDS)[number], writable = true): void {
    const { iova, length: size } = range(first, pages)
    const fd = makeBacking(kind, size, this.scratch)
    this.container.map({ iova, size, readable: true, writable, file: { fd, offset: 0 } })
  }

  take(first: number, pages: number, pageSize = PAGE): number[] {
    const { iova, length } = range(first, pages)
    const bitmap = new Uint8Array(this.container.dirtyBitmapSize(iova, length, pageSize))
    this.container.takeDirty(iova, length, pageSize, bitmap)
    return bitsOf(bitmap)
  }

  [Symbol.dispose](): void {
    this.container.close()
    this.scratch[Symbol.dispose]()
  }
}

describe('Container with its dirty log on', () => {
  for (const kind of KINDS) {
    test(`notes what is written, not what is read, of a map of a ${kind}`, () => {
      using setup = new Setup(kind)
      setup.container.dirtyLog.start([], PAGE)
      void setup.container.memory.write(18 * PAGE + 4000, Buffer.alloc(200))
      void setup.container.memory.read(20 * PAGE, Buffer.alloc(200))
      assert.deepEqual(setup.take(16, 16), [2, 3])
      assert.deepEqual(setup.take(16, 16), [])
    })
  }

  for (const kind of MAPPABLE) {
    test(`takes a view of a ${kind} for a write, at any time`, () => {
      using setup = new Setup(kind)
      const early = setup.container.memory.view(17 * PAGE, 1)
      setup.container.dirtyLog.start([], PAGE)
      setup.container.memory.view(19 * PAGE, PAGE + 1)
      assert.deepEqual(setup.take(16, 16), [1, 3, 4])
      early[0] = 1
      assert.deepEqual(setup.take(16, 16), [1, 3, 4])
    })
  }

  test('takes no view for a write that cannot be written', () => {
    using setup = new Setup('sealed memfd', false)
    setup.container.memory.view(17 * PAGE, 1)
    setup.container.dirtyLog.start([], PAGE)
    assert.deepEqual(setup.take(16, 16), [])
  })

  test('notes the part of a write that was done before the rest was refused', () => {
    using setup = new Setup()
    setup.container.dirtyLog.start([], PAGE)
    const across = Buffer.alloc(2 * PAGE)
    assert.throws(() => setup.container.memory.write(31 * PAGE, across), { code: 'EFAULT' })
    assert.deepEqual(setup.take(16, 16), [15])
  })

  test('notes both maps of a write across them', () => {
    using setup = new Setup()
    setup.map(32, 16, 'file on disk')
    setup.container.dirtyLog.start([], PAGE)
    void setup.container.memory.write(31 * PAGE, Buffer.alloc(2 * PAGE))
    assert.deepEqual(setup.take(16, 16), [15])
    assert.deepEqual(setup.take(32, 16), [0])
  })

  test('notes nothing of writes by message, and reports no such map', async () => {
    using setup = new Setup()
    setup.container.dirtyLog.start([], PAGE)
    await setup.container.memory.write(64 * PAGE, Buffer.alloc(PAGE))
    assert.throws(() => setup.take(64, 16), { code: 'EINVAL' })
    const bitmap = new Uint8Array(8)
    setup.container.dirtyLog.report(64 * PAGE, 16 * PAGE, PAGE, bitmap)
    assert.deepEqual(bitsOf(bitmap), [])
  })

  test('forgets what is unmapped', () => {
    using setup = new Setup()
    setup.container.dirtyLog.start([], PAGE)
    void setup.container.memory.write(18 * PAGE, Buffer.alloc(1))
    setup.container.memory.view(20 * PAGE, 1)
    void setup.container.unmap(16 * PAGE, 16 * PAGE)
    setup.map(16, 16, 'sealed memfd')
    assert.deepEqual(setup.take(16, 16), [])
  })

  test('reports in larger pages: page n is counted from the map on', () => {
    using setup = new Setup()
    setup.container.dirtyLog.start([], PAGE)
    void setup.container.memory.write(18 * PAGE, Buffer.alloc(1))
    void setup.container.memory.write(31 * PAGE, Buffer.alloc(1))
    assert.deepEqual(setup.take(16, 16, 4 * PAGE), [0, 3])
    void setup.container.memory.write(31 * PAGE, Buffer.alloc(1))
    assert.deepEqual(setup.take(16, 16, 2 ** 40), [0])
  })

  for (const [title, first, pages, pageSize, code] of [
    ['a map that is not there', 0, 16, PAGE, 'ENOENT'],
    ['what lies behind a map', 32, 16, PAGE, 'ENOENT'],
    ['a part of a map', 16, 8, PAGE, 'EOPNOTSUPP'],
    ['the end of a map', 24, 8, PAGE, 'EOPNOTSUPP'],
    ['more than a map', 16, 17, PAGE, 'EOPNOTSUPP'],
    ['no page', 16, 0, PAGE, 'EOPNOTSUPP'],
    ['pages of 2048 bytes', 16, 16, 2048, 'EINVAL'],
    ['pages of 0 bytes', 16, 16, 0, 'EINVAL'],
    ['pages of 12 KiB', 16, 16, 3 * PAGE, 'EINVAL'],
  ] as const) {
    test(`refuses a report of ${title} with ${code}`, () => {
      using setup = new Setup()
      setup.container.dirtyLog.start([], PAGE)
      assert.throws(() => setup.take(first, pages, pageSize), { code })
    })
  }

  test('refuses a report while it is off with EINVAL', () => {
    using setup = new Setup()
    assert.throws(() => setup.take(16, 16), { code: 'EINVAL' })
  })
})
