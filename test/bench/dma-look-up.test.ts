import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Row } from '../../bench/comparison.ts'
import { dmaLookUp } from '../../bench/dma-look-up.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

test('dma-look-up says how many times as long many maps take as one', async () => {
  using scratch = new Scratch()
  const { data } = await dmaLookUp.measure(smallBench(scratch))
  const { rows } = data as { rows: readonly Row[] }
  assert.deepEqual(
    rows.map(({ labels: [maps], contestant }) => [maps, contestant]),
    ['1', '1000', '100000'].flatMap((maps) => [
      [maps, 'C search'],
      [maps, 'mdevkit'],
    ]),
  )
  for (const { contestant, figures } of rows) {
    const one = rows.find((row) => row.contestant === contestant)!.figures
    assert.equal(figures['growth'], figures['ns']! / one['ns']!)
    assert.equal(figures['rate'], 1000 / figures['ns']!)
  }
})
