/** One file of the tree: what becomes of who reads and writes it. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { ErrnoError } from '../../src/lib/errno.ts'
import { AttributeFile } from '../../src/sysfs/attribute-file.ts'
import { deferred } from '../mdev/support.ts'

function callOf(signal: AbortSignal = new AbortController().signal) {
  return { uid: 0, gid: 0, pid: 1, signal }
}

describe('AttributeFile', () => {
  test('lets who waits for a slow show or store go with EINTR, whenever the signal comes, and nobody else', async () => {
    const slow = deferred<string>()
    let stored = 0
    const file = new AttributeFile(0o644, {
      show: () => slow.promise,
      store: async () => {
        await slow.promise
        stored++
      },
    })
    const interrupted = new AbortController()
    const reads = [callOf(interrupted.signal), callOf()].map((call) => file.read!(call))
    const writes = [callOf(interrupted.signal), callOf()].map((call) =>
      file.write!(Buffer.from('x'), call),
    )
    interrupted.abort()
    await assert.rejects(Promise.resolve(reads[0]), { code: 'EINTR' })
    await assert.rejects(Promise.resolve(writes[0]), { code: 'EINTR' })
    const late = callOf(interrupted.signal)
    await assert.rejects(Promise.resolve(file.read!(late)), { code: 'EINTR' })
    slow.resolve('at last\n')
    assert.equal(await reads[1], 'at last\n')
    await writes[1]
    assert.equal(stored, 2, 'what was begun goes on')
  })

  test('passes on what a show throws, at once or later, and reads well the next time', async () => {
    const answers: (() => string | Promise<string>)[] = [
      () => {
        throw new ErrnoError('EIO', 'no')
      },
      async () => {
        throw new ErrnoError('ENODEV', 'gone')
      },
      () => 'well\n',
    ]
    const file = new AttributeFile(0o444, { show: () => answers.shift()!() })
    assert.throws(() => file.read!(callOf()), { code: 'EIO' })
    await assert.rejects(Promise.resolve(file.read!(callOf())), { code: 'ENODEV' })
    assert.equal(file.read!(callOf()), 'well\n')
    assert.equal(file.write, undefined)
  })
})
