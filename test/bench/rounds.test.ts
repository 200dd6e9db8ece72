import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type Contestant, measureRounds } from '../../bench/rounds.ts'

test('measureRounds() rehearses all, then lets each go first in turn, case by case', async () => {
  const log: string[] = []
  const contestant = (name: string): Contestant => ({
    name,
    async rehearse() {
      log.push(`rehearse ${name}`)
    },
    measure: async (quietly) =>
      quietly([], async () => {
        log.push(name)
        return { serial: log.length }
      }),
  })
  const samples = await measureRounds(
    [
      { labels: ['one'], contestants: [contestant('a'), contestant('b')] },
      { labels: ['two'], contestants: [contestant('c')] },
    ],
    { rounds: 2, patienceMs: 0 },
    () => {},
  )
  assert.equal(log.join(', '), 'rehearse a, rehearse b, rehearse c, a, b, c, b, a, c')
  assert.deepEqual(
    samples.map(({ labels: [label], contestant: name, round, figures }) => [
      label,
      name,
      round,
      figures['serial'],
    ]),
    [
      ['one', 'a', 0, 4],
      ['one', 'b', 0, 5],
      ['two', 'c', 0, 6],
      ['one', 'b', 1, 7],
      ['one', 'a', 1, 8],
      ['two', 'c', 1, 9],
    ],
  )
})
