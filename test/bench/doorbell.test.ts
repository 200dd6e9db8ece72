import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Row } from '../../bench/comparison.ts'
import { doorbell } from '../../bench/doorbell.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

test('doorbell measures rings by eventfd and by posted write, of C and of a host', async () => {
  using scratch = new Scratch()
  const { data } = await doorbell.measure(smallBench(scratch))
  const { rows } = data as { rows: readonly Row[] }
  assert.deepEqual(
    rows.map(({ labels: [way], contestant }) => [way, contestant]),
    [
      ['eventfd', 'C bell'],
      ['eventfd', 'mdevkit'],
      ['posted write', 'C bell'],
      ['posted write', 'mdevkit'],
    ],
  )
  for (const { figures } of rows) {
    const { doorbell: there, interrupt: back, both } = figures
    assert.ok(there! > 0 && back! > 0 && both! > Math.max(there!, back!))
    assert.ok(figures['cpu']! > 0)
  }
})
