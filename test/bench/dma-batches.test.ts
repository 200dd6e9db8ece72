import assert from 'node:assert/strict'
import { test } from 'node:test'
import { timeBatches } from '../../bench/dma-batches.ts'
import { PagePlaces, Places } from '../../bench/dma-places.ts'

test('timeBatches() prepares each batch, and waits for its end before the next', async () => {
  const log: string[] = []
  const { ns } = await timeBatches(2, {
    parts: 10,
    prepare: () => void log.push('prepare'),
    async work() {
      log.push('begin')
      await new Promise(setImmediate)
      log.push('end')
    },
  })
  assert.equal(log.join(), 'prepare,begin,end,prepare,begin,end')
  assert.ok(ns > 0)
})

test('Places are below their limit, all over it, and begin again after 65,536', () => {
  const places = new Places(1000)
  const first = Array.from({ length: 65_536 }, () => places.next())
  assert.equal(new Set(first).size, 1000)
  assert.ok(first.every((place) => place >= 0 && place < 1000))
  assert.deepEqual(
    first.slice(0, 3),
    Array.from({ length: 3 }, () => places.next()),
  )
})

test('PagePlaces leave room for what begins there', () => {
  const places = new PagePlaces(8 * 4096, 5 * 4096 - 1)
  const all = new Set(Array.from({ length: 1000 }, () => places.next()))
  assert.deepEqual(all, new Set([0, 4096, 8192, 12288]))
})
