/** loadDriver() and modules that never have loaded. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadDriver } from '../../src/host/driver-loader.ts'
import { Scratch } from '../support/scratch.ts'

test('loadDriver() gives up on a module that waits for ever', async () => {
  using scratch = new Scratch()
  const path = scratch.write(
    'driver.mjs',
    'await new Promise(() => setInterval(() => {}, 1000).unref())',
  )
  let expire = () => {}
  const clock = {
    after(ms: number, action: () => void) {
      assert.equal(ms, 20_000)
      expire = action
      return () => {}
    },
  }
  const loading = loadDriver(path, clock)
  expire()
  await assert.rejects(loading, {
    code: 'ETIMEDOUT',
    message: /driver.mjs: its module: not done after 20 s/,
  })
})
