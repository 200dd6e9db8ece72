/** mtty's far ends, changed while nobody has the mdev open: where they were nothing is left, where they are they work. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { test } from 'node:test'
import { mtty } from '../../../drivers/mtty/mtty.ts'
import { Host } from '../../../src/host/host.ts'
import { silentLogger } from '../../../src/lib/log.ts'
import { Client } from '../../../src/vfio-user/client.ts'
import { openFds } from '../../support/fds.ts'
import { Scratch } from '../../support/scratch.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

test('mtty takes other far ends in place, and lets go of those that it had', async () => {
  using scratch = new Scratch()
  const host = new Host({ driver: mtty, log: silentLogger, root: scratch.path })
  try {
    const mdev = await host.create('mtty-2', UUID)
    const links = () => readdirSync(mdev.directory).filter((name) => name.startsWith('port'))
    const place = () => mdev.status()['port1'] ?? ''
    assert.match(place(), /^\/dev\/pts\//)
    const fds = openFds().length
    await mdev.changeAttributes([['ports', 'loopback']])
    assert.deepEqual([place(), links()], ['loopback', []])
    await mdev.changeAttributes([['ports', 'socket']])
    assert.deepEqual([place().startsWith(mdev.directory), links()], [true, ['port0', 'port1']])
    await mdev.changeAttributes([['ports', 'pty']])
    assert.match(place(), /^\/dev\/pts\//)
    assert.equal(openFds().length, fds)
    const client = await Client.attach(host.socketOf(mdev))
    assert.equal(await client.readRegister(7, 0, 4), 0x3253_4348) // device and vendor
    await assert.rejects(mdev.changeAttributes([['ports', 'socket']]), { code: 'EBUSY' })
    client.detach()
  } finally {
    host.close()
  }
})
