import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ended, start } from '../support/child.ts'
import { PROJECT, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'

test('drive-checksum drives the device that mdevkit run serves, and leaves it to the next', async () => {
  using scratch = new Scratch()
  await using serving = await serve([`${PROJECT}examples/checksum.ts`], { root: scratch.path })
  for (let run = 0; run < 2; run++) {
    const program = start(process.execPath, [
      `${PROJECT}dist/examples/drive-checksum.js`,
      serving.report.socket,
    ])
    const { code, stdout, stderr } = await ended(program)
    assert.deepEqual(
      { code, stdout, stderr },
      { code: 0, stdout: 'device 1b36:be12\nsum 3000\ninterrupts 3\n', stderr: '' },
    )
  }
})
