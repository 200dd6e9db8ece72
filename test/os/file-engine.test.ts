import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { projectRoot } from '../../scripts/test-runner.ts'
import { compileC } from '../support/cc.ts'
import { ended, start } from '../support/child.ts'
import { Scratch } from '../support/scratch.ts'

const PROGRAM = fileURLToPath(new URL('file-engine-program.js', import.meta.url))

test('files are read by io_uring, and the process ends once they are closed', async () => {
  using scratch = new Scratch()
  const file = scratch.write('file', 'hello world')
  const outcome = await ended(start(process.execPath, [PROGRAM, file]))
  assert.equal(outcome.stderr, '')
  assert.equal(outcome.code, 0)
  assert.equal(outcome.stdout, 'io_uring hello\nio_uring is there\n')
})

test('files are read by threads where io_uring is forbidden; asking for it says so', async () => {
  using scratch = new Scratch()
  const file = scratch.write('file', 'hello world')
  const forbidden = `${scratch.path}/forbidden`
  compileC(join(projectRoot(), 'test/os/forbidden-io-uring.c'), forbidden)
  const outcome = await ended(start(forbidden, [process.execPath, PROGRAM, file]))
  assert.equal(outcome.stderr, '')
  assert.equal(outcome.code, 0)
  assert.equal(outcome.stdout, 'threads hello\nEPERM: io_uring_setup\n')
})
