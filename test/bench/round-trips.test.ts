import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compile } from '../../bench/c-programs.ts'
import { allowedProcessors } from '../../bench/pinning.ts'
import { cellsOf, measureRoundTrips } from '../../bench/round-trips.ts'
import type { ServerSpec } from '../../bench/server.ts'
import { Scratch } from '../support/scratch.ts'

test('cellsOf() combines accesses, clients and placements', () => {
  assert.equal(cellsOf(['read', 'write'], ['split', 'same']).length, 8)
  assert.deepEqual(cellsOf(['read'], ['same']), [
    { access: 'read', client: 'blocking', placement: 'same' },
    { access: 'read', client: 'polling', placement: 'same' },
  ])
})

test('measureRoundTrips() measures the echo in every cell and round', async () => {
  using scratch = new Scratch()
  const programs = compile(scratch.path)
  const echo: ServerSpec = {
    name: 'echo',
    placements: ['same'],
    keepsWrites: false,
    command: (directory) => [programs.echo, `${directory}.sock`],
  }
  const samples = await measureRoundTrips(
    programs.client,
    [echo],
    cellsOf(['read', 'write'], ['same']),
    scratch.path,
    allowedProcessors(),
    { rounds: 2, count: 20, maxMs: 200, rehearsal: 20, gapUs: 0, patienceMs: 0 },
    () => {},
  )
  assert.equal(samples.length, 2 * 4)
  for (const { latencies, cpuPerMessage } of samples) {
    assert.ok(latencies.n >= 1 && latencies.n <= 20)
    assert.ok(latencies.min <= latencies.p50 && latencies.p50 <= latencies.p99)
    assert.ok(cpuPerMessage > 0)
  }
})
