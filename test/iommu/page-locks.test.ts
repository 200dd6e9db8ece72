import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { PageLocks } from '../../src/iommu/page-locks.ts'
import { lockedBytes, SharedFile } from '../support/pin-space.ts'

const PAGE = 4096
/** A quarter of the mappings that Linux allows (vm.max_map_count, 65530) go to what two per run come to. */
const MAX_RUNS = 8192

/** Fails unless so many pages more than before are locked, in the kernel's eyes too. */
class Watch {
  readonly #locks: PageLocks
  readonly #before = lockedBytes()

  constructor(locks: PageLocks) {
    this.#locks = locks
  }

  sees(pages: number, runs: number): void {
    assert.equal((lockedBytes() - this.#before) / PAGE, pages)
    assert.equal(this.#locks.pages, pages)
    assert.equal(this.#locks.runs, runs)
  }
}

test('PageLocks.lock() locks a page once, and as often as it was locked it must be unlocked', () => {
  using file = new SharedFile(16)
  const locks = new PageLocks()
  const watch = new Watch(locks)
  const piece = file.pieceAt(0)
  locks.lock(piece, 1, 4)
  locks.lock(piece, 1, 4)
  watch.sees(4, 1)
  locks.lock(piece, 3, 4) // two of them new
  watch.sees(6, 1)
  locks.unlock(piece, 1, 4)
  watch.sees(6, 1)
  locks.unlock(piece, 1, 4)
  watch.sees(4, 1)
  locks.unlock(piece, 3, 4)
  watch.sees(0, 0)
})

test('PageLocks.lock() locks the runs between those that are locked', () => {
  using file = new SharedFile(16)
  const locks = new PageLocks()
  const watch = new Watch(locks)
  const piece = file.pieceAt(0)
  locks.lock(piece, 2, 2)
  locks.lock(piece, 6, 2)
  watch.sees(4, 2)
  locks.lock(piece, 0, 10)
  watch.sees(10, 1)
  locks.unlock(piece, 0, 10)
  watch.sees(4, 2)
  locks.unlock(piece, 2, 2)
  locks.unlock(piece, 6, 2)
  watch.sees(0, 0)
})

test('PageLocks.lock() keeps pieces apart, also of one file', () => {
  using file = new SharedFile(8, 4)
  const locks = new PageLocks()
  const watch = new Watch(locks)
  locks.lock(file.pieceAt(0), 0, 4)
  locks.lock(file.pieceAt(4 * PAGE), 0, 4)
  watch.sees(8, 2)
  locks.unlock(file.pieceAt(0), 0, 4)
  watch.sees(4, 1)
  locks.unlock(file.pieceAt(4 * PAGE), 0, 4)
  watch.sees(0, 0)
})

test('PageLocks.lock() that fails half-way has locked nothing', () => {
  using file = new SharedFile(8)
  const locks = new PageLocks()
  const watch = new Watch(locks)
  const piece = file.pieceAt(0)
  locks.lock(piece, 2, 1)
  // pages 0 and 1 can be locked, 2 is, 3 to 7 can, and the rest is not mapped
  assert.throws(() => locks.lock(piece, 0, 2 ** 10), { code: 'ENOMEM' })
  watch.sees(1, 1)
  locks.unlock(piece, 2, 1)
  watch.sees(0, 0)
})

test('PageLocks.lock() refuses one run too many with ENOMEM, but not what makes runs longer or fewer', () => {
  using file = new SharedFile(32)
  const locks = new PageLocks(3)
  const watch = new Watch(locks)
  const piece = file.pieceAt(0)
  for (const page of [0, 4, 8]) locks.lock(piece, page, 1)
  assert.throws(() => locks.lock(piece, 12, 1), {
    code: 'ENOMEM',
    message: 'lock 4 KiB: 3 runs of locked pages that lie apart are the most',
  })
  watch.sees(3, 3)
  locks.lock(piece, 9, 1)
  locks.lock(piece, 1, 3)
  watch.sees(7, 2)
  locks.lock(piece, 12, 1)
  watch.sees(8, 3)
  for (const [first, count] of [
    [0, 1],
    [4, 1],
    [8, 1],
    [9, 1],
    [1, 3],
    [12, 1],
  ] as const)
    locks.unlock(piece, first, count)
  watch.sees(0, 0)
})

test('PageLocks.unlock() never makes more runs than there may be: what would split one lingers', () => {
  using file = new SharedFile(32)
  const locks = new PageLocks(2)
  const watch = new Watch(locks)
  const piece = file.pieceAt(0)
  for (let page = 0; page < 9; page++) locks.lock(piece, page, 1)
  locks.unlock(piece, 1, 1)
  watch.sees(8, 2)
  locks.unlock(piece, 3, 1)
  locks.unlock(piece, 5, 1)
  watch.sees(8, 2) // 3 and 5 linger
  locks.lock(piece, 5, 1) // wanted again
  locks.unlock(piece, 4, 1) // takes 3 and 4, were it not between 2 and 5
  watch.sees(8, 2)
  locks.unlock(piece, 2, 1) // at the end of its run: takes what lingers beside it
  watch.sees(5, 2)
  locks.unlock(piece, 0, 1)
  for (const page of [5, 6, 7, 8]) locks.unlock(piece, page, 1)
  watch.sees(0, 0)
})

test('PageLocks.unlock() takes what lingers on either side with it', () => {
  using file = new SharedFile(8)
  const locks = new PageLocks(1)
  const watch = new Watch(locks)
  const piece = file.pieceAt(0)
  for (let page = 0; page < 5; page++) locks.lock(piece, page, 1)
  locks.unlock(piece, 2, 1)
  locks.unlock(piece, 3, 1)
  watch.sees(5, 1) // 2 and 3 linger between 1 and 4
  locks.unlock(piece, 4, 1)
  watch.sees(2, 1)
  locks.unlock(piece, 0, 1)
  locks.unlock(piece, 1, 1)
  watch.sees(0, 0)
})

/** Mappings of the kind of file that these tests lock. */
function mappings(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('memfd:pinned').length - 1
}

test('PageLocks leaves mappings to others when pages are locked one by one, far from each other', () => {
  using file = new SharedFile(20_000)
  const locks = new PageLocks()
  const piece = file.pieceAt(0)
  for (let page = 0; page < 2 * MAX_RUNS; page += 2) locks.lock(piece, page, 1)
  assert.throws(() => locks.lock(piece, 2 * MAX_RUNS, 1), { code: 'ENOMEM' })
  assert.ok(mappings() <= 2 * MAX_RUNS + 1, `${mappings()} mappings`)
  for (let page = 0; page < 2 * MAX_RUNS; page += 2) locks.unlock(piece, page, 1)
  assert.equal(mappings(), 1)
})

test('PageLocks leaves mappings to others when every other page of many is unlocked', () => {
  using file = new SharedFile(20_000)
  const locks = new PageLocks()
  const piece = file.pieceAt(0)
  for (let page = 0; page < 20_000; page++) locks.lock(piece, page, 1)
  assert.equal(locks.runs, 1)
  for (let page = 1; page < 20_000; page += 2) locks.unlock(piece, page, 1)
  assert.ok(mappings() <= 2 * MAX_RUNS + 1, `${mappings()} mappings`)
  for (let page = 0; page < 20_000; page += 2) locks.unlock(piece, page, 1)
  assert.equal(locks.pages, 0)
  assert.equal(mappings(), 1)
})

test('PageLocks holds what a plain count of each page says, and at most some more that lingers', () => {
  const PAGES = 24
  const range = fc.record({
    first: fc.integer({ min: 0, max: PAGES - 1 }),
    count: fc.integer({ min: 1, max: PAGES }),
    unlocks: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(range, { maxLength: 60 }), fc.constantFrom(2, 3, 100), (steps, most) => {
      using file = new SharedFile(PAGES)
      const locks = new PageLocks(most)
      const before = lockedBytes()
      const piece = file.pieceAt(0)
      const held: [number, number][] = []
      for (const { first, count: wanted, unlocks } of steps) {
        const count = Math.min(wanted, PAGES - first)
        if (unlocks && held.length > 0)
          locks.unlock(piece, ...held.splice(first % held.length, 1)[0]!)
        else {
          try {
            locks.lock(piece, first, count)
            held.push([first, count])
          } catch {
            assert.equal(locks.runs, most) // nothing else refuses here
          }
        }
        const wantedPages = new Set(
          held.flatMap(([at, n]) => Array.from({ length: n }, (_, i) => at + i)),
        )
        assert.equal((lockedBytes() - before) / PAGE, locks.pages)
        assert.ok(locks.runs <= most)
        if (most === 100) assert.equal(locks.pages, wantedPages.size)
        else assert.ok(locks.pages >= wantedPages.size)
      }
      for (const each of held) locks.unlock(piece, ...each)
      assert.equal(locks.pages, 0)
      assert.equal(locks.runs, 0)
      assert.equal(lockedBytes(), before)
    }),
  )
})
