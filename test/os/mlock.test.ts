import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { lockPages, unlockPages } from '../../src/os/mlock.ts'
import { ended, start } from '../support/child.ts'
import { limitedCommand } from '../support/limited.ts'
import { lockedBytes, SharedFile } from '../support/pin-space.ts'

const PAGE = 4096

test('lockPages() locks, and unlockPages() lets go', () => {
  using file = new SharedFile(8)
  const before = lockedBytes()
  const { address } = file.pieceAt(0)
  lockPages(address + PAGE, 4 * PAGE)
  assert.equal(lockedBytes() - before, 4 * PAGE)
  assert.equal(unlockPages(address + PAGE, PAGE), true)
  assert.equal(lockedBytes() - before, 3 * PAGE)
  unlockPages(address + 2 * PAGE, 3 * PAGE)
  assert.equal(lockedBytes(), before)
})

test('lockPages() refuses what is not all mapped with ENOMEM, and locks nothing of it', () => {
  using file = new SharedFile(4, 2)
  const before = lockedBytes()
  const { address } = file.pieceAt(2 * PAGE) // the last piece; what follows its guard page is unknown
  assert.throws(() => lockPages(address, 2 ** 40), { code: 'ENOMEM' })
  assert.equal(lockedBytes(), before)
})

test('lockPages() says when it is our own limit, and locks nothing of it', async () => {
  const program = fileURLToPath(new URL('./mlock-program.js', import.meta.url))
  const [command = '', ...args] = limitedCommand(16 * PAGE, [process.execPath, program])
  const { stdout, stderr, code } = await ended(start(command, args))
  assert.equal(code, 0, stderr)
  assert.deepEqual(stdout.trim().split('\n'), [
    'ENOMEM mlock 68 KiB: this process has 0 B locked, 64 KiB is its limit (RLIMIT_MEMLOCK)',
    'locked 0',
    'locked 65536',
    'ENOMEM mlock 4 KiB: this process has 64 KiB locked, 64 KiB is its limit (RLIMIT_MEMLOCK)',
    'locked 65536',
  ])
})
