import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { lockPages } from '../../src/os/mlock.ts'
import { pageFrames } from '../../src/os/page-frames.ts'
import { ended, start } from '../support/child.ts'
import { assertKeepsFds } from '../support/fds.ts'
import { SharedFile } from '../support/pin-space.ts'

const PAGE = 4096

test('pageFrames() tells the frame of each page, the same for one page wherever it is mapped', () => {
  if (process.getuid?.() !== 0) throw new Error('run as root: it takes CAP_SYS_ADMIN')
  using file = new SharedFile(600)
  const { address } = file.pieceAt(0)
  lockPages(address, 512 * PAGE)
  const frames = pageFrames(address, 512) ?? []
  assert.equal(frames.length, 512)
  assert.equal(new Set(frames).size, 512)
  assert.ok(frames.every((frame) => frame > 0 && Number.isSafeInteger(frame)))
  assert.deepEqual(pageFrames(address + 100 * PAGE, 3), frames.slice(100, 103))
})

test('pageFrames() is 0 for a page that is not present', () => {
  using file = new SharedFile(4)
  const { address } = file.pieceAt(0)
  assert.deepEqual(pageFrames(address, 2), [0, 0])
})

test('pageFrames() leaves no fd', () => {
  using file = new SharedFile(4)
  assertKeepsFds(() => void pageFrames(file.pieceAt(0).address, 4))
})

test('pageFrames() is undefined where this process may not know', async () => {
  const program = fileURLToPath(new URL('./page-frames-program.js', import.meta.url))
  const drop = ['--bounding-set=-sys_admin', '--inh-caps=-sys_admin']
  const root = process.getuid?.() === 0
  const args = [...(root ? [...drop, process.execPath] : []), program]
  const { stdout, stderr, code } = await ended(start(root ? 'setpriv' : process.execPath, args))
  assert.equal(code, 0, stderr)
  assert.equal(stdout, 'undefined\n')
})
