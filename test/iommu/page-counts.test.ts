import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { PageCounts, type PageRun, pagesOf } from '../../src/iommu/page-counts.ts'

/** The pages as runs. */
function runsOf(pages: readonly number[]): PageRun[] {
  const runs: { first: number; count: number }[] = []
  for (const page of pages) {
    const last = runs.at(-1)
    if (last !== undefined && last.first + last.count === page) last.count++
    else runs.push({ first: page, count: 1 })
  }
  return runs
}

test('PageCounts does what a Map of counts does, also across chunks and beyond 2^32', () => {
  const range = fc.record({
    base: fc.constantFrom(0, 120, 2 ** 35 - 8),
    first: fc.integer({ min: 0, max: 20 }),
    count: fc.integer({ min: 1, max: 300 }),
  })
  fc.assert(
    fc.property(
      fc.array(range, { maxLength: 20 }),
      fc.infiniteStream(fc.nat()),
      (ranges, picks) => {
        const counts = new PageCounts()
        const model = new Map<number, number>()
        const held: PageRun[] = []
        const change = ({ first, count }: PageRun, by: 1 | -1): void => {
          const pages = Array.from({ length: count }, (_, i) => first + i)
          const changed = pages.filter((page) => (model.get(page) ?? 0) === (by === 1 ? 0 : 1))
          for (const page of pages) model.set(page, (model.get(page) ?? 0) + by)
          const runs = by === 1 ? counts.add(first, count) : counts.subtract(first, count)
          assert.deepEqual(runs, runsOf(changed))
          assert.equal(pagesOf(runs), changed.length)
          for (const page of [first - 1, ...pages, first + count])
            assert.equal(counts.has(page), (model.get(page) ?? 0) > 0)
          assert.equal(counts.pages, [...model.values()].filter((uses) => uses > 0).length)
        }
        for (const { base, first, count } of ranges) {
          held.push({ first: base + first, count })
          change(held.at(-1)!, 1)
          const pick = picks.next().value
          if (pick % 3 === 0) change(held.splice(pick % held.length, 1)[0]!, -1)
        }
        for (const run of held) change(run, -1)
        assert.equal(counts.pages, 0)
      },
    ),
  )
})

test('PageCounts.subtract() of what is not in use is a bug, and fails', () => {
  const counts = new PageCounts()
  counts.add(5, 1)
  assert.throws(() => counts.subtract(6, 1), assert.AssertionError)
})
