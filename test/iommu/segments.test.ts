/** Lists of guest memory. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { forEachSegment } from '../../src/iommu/segments.ts'

// Found by fuzzing: a client went while a list was being asked for, and the host with it.
test('forEachSegment() hears what it has begun when a later segment is refused', async () => {
  const unhandled: unknown[] = []
  const note = (error: unknown) => unhandled.push(error)
  process.on('unhandledRejection', note)
  try {
    const list = [
      { iova: 0, length: 4 },
      { iova: 4, length: 4 },
    ]
    const done = forEachSegment(list, new Uint8Array(8), (iova) => {
      if (iova === 4) throw new ErrnoError('EFAULT', 'not mapped')
      return Promise.reject(new ErrnoError('ECONNRESET', 'the client has gone'))
    })
    await assert.rejects(async () => done, { code: 'EFAULT' })
    await new Promise((resolve) => setImmediate(resolve))
    assert.deepEqual(unhandled, [])
  } finally {
    process.off('unhandledRejection', note)
  }
})
