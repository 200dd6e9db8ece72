/** A driver that never returns holds up its own host alone: calls to that time out, and others do not notice. */
import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Bench } from '../daemon/bench.ts'
import { uuid } from '../mdev/support.ts'
import { Mdevkit } from '../support/mdevkit.ts'
import { STUCK } from '../support/stuck-driver.ts'

test('a driver that loops in its host is ETIMEDOUT; other parents go on, and killing it cleans up', async () => {
  await using bench = new Bench()
  await bench.daemon()
  const { client, root } = bench
  bench.host('a')
  const driver = bench.scratch.write('stuck.mjs', STUCK)
  await using host = await Mdevkit.start(['host', driver], { root })
  for await (const event of client.events()) {
    const parents = event.action === 'snapshot' ? event.parents : await client.parents()
    if (parents.length === 2) break
  }
  await client.start({ parent: 'stuck', type: 'stuck-1', uuid: uuid(1) })
  const stopped = assert.rejects(client.stop(uuid(1)), { code: 'ETIMEDOUT' })
  await client.start({ parent: 'a', type: 'test-1', uuid: uuid(2) })
  await stopped
  await assert.rejects(client.change(uuid(2), [['x', 'y']]), { code: 'ENOENT' }) // it answers at once
  await client.stop(uuid(2))
  const { mdevs } = await client.list()
  assert.deepEqual(
    mdevs.map(({ uuid: id }) => id),
    [uuid(1)],
  )
  const events = client.events()
  await events.next()
  await host.stop('SIGKILL')
  for await (const event of events)
    if ('MDEV_STATE' in event && event.MDEV_STATE === 'unregistered') break
  assert.deepEqual((await client.list()).mdevs, [])
  while (existsSync(join(root, 'devices', uuid(1))))
    await new Promise((resolve) => setTimeout(resolve, 20))
})
