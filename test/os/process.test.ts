import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { processName } from '../../src/os/process.ts'
import { ended, start } from '../support/child.ts'

test('processName() is what ps shows, and ? for a process that has gone', async () => {
  const child = start('cat', [])
  await once(child, 'spawn')
  const { pid = -1 } = child
  assert.equal(processName(pid), 'cat')
  child.stdin?.end()
  await ended(child)
  assert.equal(processName(pid), '?')
})
