import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Row } from '../../bench/comparison.ts'
import { posted } from '../../bench/posted.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

test('posted measures a host beside the echo, and prints what it measured', async () => {
  using scratch = new Scratch()
  const { text, data } = await posted.measure(smallBench(scratch))
  const { rows } = data as { rows: readonly Row[] }
  assert.deepEqual(
    rows.map(({ contestant }) => contestant),
    ['C echo', 'mdevkit'],
  )
  const [echo, host] = rows
  assert.deepEqual(Object.keys(echo!.ratios), [])
  assert.ok(host!.ratios['p50']!.median > 0 && host!.ratios['cpu']!.median > 0)
  for (const { figures } of rows) {
    assert.match(text, new RegExp(` ${figures['p50']!.toFixed(2)} `))
  }
})
