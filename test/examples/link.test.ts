/** Links between cards of several parents, committed and freed for the whole group. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { link } from '../../examples/link.ts'
import { Host } from '../../src/host/host.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'

const uuid = (number: number) => `83b8f4f2-509f-382f-3c1e-${String(number).padStart(12, '0')}`
const JOIN = [['group', uuid(0)]] as const

test('link commits links for all cards of a group when the first is opened, and frees them after the last', async () => {
  using scratch = new Scratch()
  const hosts = [1, 2].map(() => new Host({ driver: link, log: silentLogger, root: scratch.path }))
  try {
    const cards = []
    for (const [index, host] of [...hosts, ...hosts].entries())
      cards.push(host.socketOf(await host.create('link-1', uuid(index + 1), JOIN)))
    const free = () => hosts.map(({ parent }) => parent.status()['free_links'])
    assert.deepEqual(free(), ['8', '8'])
    const clients = []
    for (const card of cards) clients.push(await Client.attach(card))
    assert.deepEqual(free(), ['2', '2'])
    const registers = await Promise.all(
      clients.map(async (client) => [
        await client.region(0).readU32(0),
        await client.region(0).readU32(4),
      ]),
    )
    assert.deepEqual(registers, [
      [3, 0],
      [3, 1],
      [3, 2],
      [3, 3],
    ])
    const closed = hosts.map(
      ({ events, parent }) =>
        new Promise<void>((resolve) => {
          events.on('detach', () => {
            if (parent.mdevs.every(({ user }) => user === undefined)) resolve()
          })
        }),
    )
    for (const client of clients) client.detach()
    await Promise.all(closed)
    await until(() => assert.deepEqual(free(), ['8', '8'])) // one host hears of it from the other
  } finally {
    for (const host of hosts) host.close()
  }
})

test('link refuses a client of a group that needs more links than there are', async () => {
  using scratch = new Scratch()
  const host = new Host({ driver: link, log: silentLogger, root: scratch.path })
  try {
    const mdevs = []
    for (const number of [1, 2, 3, 4]) mdevs.push(await host.create('link-1', uuid(number), JOIN))
    const [first] = mdevs
    assert.ok(first)
    await assert.rejects(Client.attach(host.socketOf(first)), { code: 'ENOSPC' })
    await first.changeAttributes([['group', '']])
    const alone = await Client.attach(host.socketOf(first))
    assert.equal(await alone.region(0).readU32(0), 0)
    alone.detach()
  } finally {
    host.close()
  }
})
