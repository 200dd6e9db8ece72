import assert from 'node:assert/strict'
import { test } from 'node:test'
import { comparisonTable, type ComparisonTable, summarise } from '../../bench/comparison.ts'
import type { Figures, Sample } from '../../bench/rounds.ts'

const TABLE: ComparisonTable = {
  title: 'Round trips',
  labels: ['access', 'processors'],
  figures: [
    { name: 'p50', title: 'p50 us', compared: true },
    { name: 'cpu', title: 'CPU us', digits: 2 },
  ],
  reference: 'echo',
  notes: [],
}

function sample(contestant: string, round: number, figures: Figures, targets: Figures = {}) {
  return {
    labels: ['read', 'different'],
    contestant,
    targets,
    round,
    figures,
    quiet: true,
    otherLoad: 0,
  } satisfies Sample
}

test('summarise() takes the median of the ratios within rounds, not the ratio of medians', () => {
  const rounds = [
    { echo: 40, host: 10 }, // 0.25
    { echo: 50, host: 10 }, // 0.2
    { echo: 400, host: 100 }, // 0.25, on a disturbed machine
  ]
  const samples = rounds.flatMap(({ echo, host }, round) => [
    sample('echo', round, { p50: echo, cpu: 1 }),
    sample('host', round, { p50: host, cpu: 3 }, { p50: 0.5 }),
  ])
  const [echo, host] = summarise(samples, TABLE)
  assert.deepEqual(echo?.figures, { p50: 50, cpu: 1 })
  assert.deepEqual(echo?.ratios, {})
  assert.deepEqual(host?.figures, { p50: 10, cpu: 3 })
  assert.equal(host?.ratios['p50']?.median, 0.25)
  assert.equal(host?.ratios['cpu']?.median, 3)
  assert.deepEqual(host?.targets, { p50: 0.5 })
})

test('summarise() keeps cases apart, and has no ratio where the reference took no part', () => {
  const read = sample('echo', 0, { p50: 10 })
  const rows = summarise(
    [read, { ...sample('host', 0, { p50: 10 }), labels: ['write', 'different'] }],
    TABLE,
  )
  assert.deepEqual(
    rows.map(({ labels, ratios }) => ({ labels, ratios })),
    [
      { labels: ['read', 'different'], ratios: {} },
      { labels: ['write', 'different'], ratios: {} },
    ],
  )
})

test('summarise() takes each ratio to the reference of its figure', () => {
  const table = {
    reference: 'echo',
    figures: [
      { name: 'p50', title: 'p50 us' },
      { name: 'cpu', title: 'CPU us', reference: 'sleeper' },
    ],
  }
  const rows = summarise(
    [
      sample('echo', 0, { p50: 40, cpu: 1 }),
      sample('sleeper', 0, { p50: 80, cpu: 10 }),
      sample('host', 0, { p50: 20, cpu: 15 }),
    ],
    table,
  )
  const medians = rows.map(({ ratios }) => [ratios['p50']?.median, ratios['cpu']?.median])
  assert.deepEqual(medians, [
    [undefined, 0.1],
    [2, undefined],
    [0.5, 1.5],
  ])
})

test('comparisonTable() puts the reference first and says whether a target is met', () => {
  const rows = summarise(
    [
      sample('host', 0, { p50: 30, cpu: 15 }, { p50: 0.5 }),
      sample('echo', 0, { p50: 40, cpu: 20 }),
    ],
    TABLE,
  )
  assert.deepEqual(comparisonTable(rows, TABLE).split('\n'), [
    'access  processors  server  p50 us  CPU us  p50 / echo  half of rounds  target',
    '------  ----------  ------  ------  ------  ----------  --------------  --------------',
    'read    different   echo      40.0   20.00',
    '                    host      30.0   15.00        0.75  0.75 - 0.75     <= 0.5: missed',
  ])
})

test('comparisonTable() takes a target as the least where more is better', () => {
  const figures = [{ name: 'iops', title: 'IOPS', compared: true, moreIsBetter: true }]
  const table = { ...TABLE, figures }
  const verdictAt = (iops: number) =>
    comparisonTable(
      summarise(
        [sample('echo', 0, { iops: 100 }), sample('host', 0, { iops }, { iops: 1.5 })],
        table,
      ),
      table,
    )
  assert.match(verdictAt(149), />= 1\.5: missed$/)
  assert.match(verdictAt(150), />= 1\.5: met$/)
})

test('comparisonTable() has no column for targets where there are none', () => {
  const rows = summarise(
    [sample('host', 0, { p50: 30, cpu: 15 }), sample('echo', 0, { p50: 40, cpu: 20 })],
    TABLE,
  )
  assert.doesNotMatch(comparisonTable(rows, TABLE), /target/)
})
