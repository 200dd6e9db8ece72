import assert from 'node:assert/strict'
import { test } from 'node:test'
import { roundTripTable, summarise } from '../../bench/report.ts'
import type { Cell, Sample } from '../../bench/round-trips.ts'

const SPLIT: Cell = { access: 'read', client: 'blocking', placement: 'split' }

function sample(server: string, round: number, p50Us: number): Sample {
  const p50 = p50Us * 1000
  return {
    cell: SPLIT,
    server,
    round,
    latencies: { n: 100, messages: 110, min: p50, mean: p50, p50, p90: p50, p99: 2 * p50 },
    cpuPerMessage: p50 / 2,
    quiet: true,
    otherLoad: 0,
  }
}

test('summarise() takes the median of the ratios within rounds, not the ratio of medians', () => {
  const rounds = [
    { echo: 40, host: 10 }, // 0.25
    { echo: 50, host: 10 }, // 0.2
    { echo: 400, host: 100 }, // 0.25, on a disturbed machine
  ]
  const samples = rounds.flatMap(({ echo, host }, round) => [
    sample('echo', round, echo),
    sample('host', round, host),
  ])
  const target = (_cell: Cell, server: string) => (server === 'host' ? 0.5 : undefined)
  const [echo, host] = summarise(samples, 'echo', target)
  assert.equal(echo?.p50, 50)
  assert.equal(echo?.ratio, undefined)
  assert.equal(host?.p50, 10)
  assert.equal(host?.p99, 20)
  assert.equal(host?.cpuPerMessage, 5)
  assert.equal(host?.ratio?.median, 0.25)
  assert.equal(host?.target, 0.5)
})

test('roundTripTable() puts the reference first and says whether a target is met', () => {
  const rows = summarise([sample('host', 0, 30), sample('echo', 0, 40)], 'echo', (_cell, server) =>
    server === 'host' ? 0.5 : undefined,
  )
  const lines = roundTripTable(rows, 'echo').split('\n').slice(2)
  assert.match(lines[0]!, /^read {4}blocking {2}different {3}echo +40\.0 +80\.0 +20\.0$/)
  assert.match(lines[1]!, /^ +host +30\.0 +60\.0 +15\.0 +0\.75 +0\.75 - 0\.75 +<= 0\.5: missed$/)
})
