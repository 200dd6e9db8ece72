/** The processes that guest memory is measured in: what they do is what they say that they time. */
import assert from 'node:assert/strict'
import { closeSync, openSync, readSync } from 'node:fs'
import { describe, test } from 'node:test'
import { askFor, type Sides, startDmaHost, startSides } from '../../bench/dma-sides.ts'
import { PagePlaces } from '../../bench/dma-places.ts'
import { processorsOf } from '../../bench/pinning.ts'
import { Running } from '../../bench/server.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

const PAGE = 4096
const MIB = 1024 * 1024
const SIZE = 4 * MIB

/** Runs `work` with both sides on memory of {@link SIZE}. */
async function withSides(work: (sides: Sides, scratch: Scratch) => Promise<void>): Promise<void> {
  using scratch = new Scratch()
  await using running = new Running()
  await work(await startSides(smallBench(scratch), running, SIZE), scratch)
}

/** The first 32 bits of each page. */
function firstWords(memory: string): number[] {
  const fd = openSync(memory, 'r')
  try {
    const page = Buffer.alloc(PAGE)
    return Array.from({ length: SIZE / PAGE }, (_, index) => {
      assert.equal(readSync(fd, page, 0, PAGE, index * PAGE), PAGE)
      return page.readUInt32LE()
    })
  } finally {
    closeSync(fd)
  }
}

/** What {@link firstWords} are when `count` copies of zeros have gone to random pages. */
function expectedWords(count: number): number[] {
  const words = Array.from({ length: SIZE / PAGE }, (_, index) => index)
  const places = new PagePlaces(SIZE, PAGE)
  for (let i = 0; i < count; i++) words[places.next() / PAGE] = 0
  return words
}

describe('the sides of guest memory', () => {
  for (const side of ['c', 'mdevkit'] as const) {
    test(`${side} copies to the pages that Places says, and touches no other`, async () => {
      await withSides(async (sides) => {
        assert.deepEqual(firstWords(sides.memory), expectedWords(0))
        const { ns } = await askFor<{ ns: number }>(sides[side], `copy write ${PAGE} 100`, 1)
        assert.ok(ns > 0)
        assert.deepEqual(firstWords(sides.memory), expectedWords(100))
      })
    })
  }

  test('both do the same jobs, again and again', async () => {
    await withSides(async ({ c, mdevkit }) => {
      const jobs = [
        'copy read 64 10',
        'look-up 100 10',
        'map 0 10',
        'map 20 10',
        'map-file 2',
        'pin 3 10',
      ]
      for (const job of [...jobs, ...jobs]) {
        for (const side of [c, mdevkit]) {
          const { ns } = await askFor<{ ns: number }>(side, job, 3)
          assert.ok(ns > 0, job)
        }
      }
    })
  })

  test('file jobs fill guest memory from a file', async () => {
    await withSides(async ({ c, mdevkit, memory }, scratch) => {
      for (const [letter, side, job] of [
        ['a', c, 'file'],
        ['b', mdevkit, 'file-sync'],
        ['c', mdevkit, 'file-async 4'],
      ] as const) {
        const path = scratch.write(`${letter}.txt`, letter.repeat(MIB))
        const count = 20_000 // more than enough to come to each of the first pages
        const { ns } = await askFor<{ ns: number }>(side, `${job} ${PAGE} ${count} ${path}`, 1)
        assert.ok(ns > 0)
        const word = Buffer.from(letter.repeat(4)).readUInt32LE()
        const filled = firstWords(memory).slice(0, MIB / PAGE)
        assert.deepEqual([...new Set(filled)], [word], job)
      }
    })
  })

  test('a guest without a file is asked for its memory', async () => {
    using scratch = new Scratch()
    await using running = new Running()
    const bench = smallBench(scratch)
    const processors = processorsOf('same', bench.allowed)
    const { host, memory } = await startDmaHost(bench, running, processors, SIZE, '--no-file')
    const read = await askFor<Record<string, number>>(host, `message read ${MIB} 2`, 2)
    assert.equal(read['messages'], 4)
    assert.ok(read['p50']! > 0 && read['p99']! >= read['p50']!)
    assert.deepEqual(firstWords(memory), expectedWords(0))
    await askFor(host, `message write ${PAGE} 20`, 1)
    assert.deepEqual(firstWords(memory), expectedWords(20))
  })

  test('a job that there is not ends the host, with its name', async () => {
    await withSides(async ({ mdevkit }) => {
      await assert.rejects(askFor(mdevkit, 'dance', 1), { code: 'EIO' })
    })
  })
})
