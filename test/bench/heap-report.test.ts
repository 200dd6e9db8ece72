import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { heapText } from '../../bench/heap.ts'
import type { HeapReport } from '../../bench/heap-report.ts'
import { Running } from '../../bench/server.ts'
import { startServers } from '../../bench/servers.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

/** The reports of a process that does `work` between the two. */
function reportsAround(work: string): HeapReport[] {
  const module = new URL('../../bench/heap-report.js', import.meta.url).href
  const program = `
    import { watchHeap } from ${JSON.stringify(module)}
    const report = watchHeap()
    const before = await report()
    ${work}
    console.log(JSON.stringify([before, await report()]))
  `
  const options = ['--expose-gc', '--input-type=module', '--eval', program]
  return JSON.parse(execFileSync(process.execPath, options, { encoding: 'utf8' })) as HeapReport[]
}

test('watchHeap() counts the collections that V8 made before it was asked', () => {
  const [before, after] = reportsAround(
    'globalThis.list = []; for (let i = 0; i < 2_000_000; i++) list[i % 100] = [i]',
  )
  assert.ok(after!.scavenges > before!.scavenges, JSON.stringify({ before, after }))
  assert.ok(after!.usedNow > after!.used)
})

test('watchHeap() estimates what was allocated, collected or not', () => {
  const bytes = 2_000_000 * 32 // an array's 16, its elements' 16 at least
  const [before, after] = reportsAround(
    'globalThis.list = []; for (let i = 0; i < 2_000_000; i++) list[i % 100] = [i]',
  )
  const allocated = after!.allocated - before!.allocated
  assert.ok(allocated > bytes / 2 && allocated < bytes * 4, `${allocated}, not about ${bytes}`)
})

test('watchHeap() does not count the collections that it makes', () => {
  const [before, after] = reportsAround('for (let i = 0; i < 10; i++) await report()')
  assert.ok(after!.others - before!.others < 10, JSON.stringify({ before, after }))
})

test('a host reports its heap when it is asked', async () => {
  using scratch = new Scratch()
  const bench = smallBench(scratch)
  await using running = new Running()
  const [server] = await startServers(running, bench.hosts, 'same', bench)
  const { used, usedNow } = await server!.ask<HeapReport>('heap')
  assert.ok(used > 1e6 && usedNow > used)
})

test('heapText() counts growth from the heap without garbage before', () => {
  const before = { usedNow: 900, used: 500, allocated: 1000, scavenges: 3, others: 1 }
  const after = { usedNow: 700, used: 510, allocated: 7000, scavenges: 5, others: 1 }
  const lines = heapText([{ server: 'host', messages: 100, before, after }]).split('\n')
  assert.match(lines[4]!, /^host +100 +200 +10 +2 +0 +60\.0$/)
})
