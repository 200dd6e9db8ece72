/** What events have of the kernel's uevents: chapters 1.1, 1.4, 1.7, 1.10 and 2.7 of its transcript. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { SysfsHosts } from '../../src/daemon/sysfs-hosts.ts'
import type { MachineEvent, SnapshotEvent } from '../../src/http/events.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { SysfsTree } from '../../src/sysfs/sysfs-tree.ts'
import { mprobe, MTTY } from '../sysfs/parents.ts'
import { CLASS, DEVICES, u } from '../sysfs/bench.ts'
import { Walker } from '../sysfs/walker.ts'
import { Api } from './support.ts'

/** As the transcript writes them down; what the kernel does not tell has no place. */
function ueventText(event: SnapshotEvent | MachineEvent): string {
  if (event.action === 'snapshot') return 'snapshot'
  const { action, DEVPATH = '-' } = { DEVPATH: undefined, ...event }
  const keys = Object.entries(event)
    .filter(([name]) => /^[A-Z_a-z0-9]*[A-Z]{3}/.test(name) && !/^(DEVPATH|SEQNUM)$/.test(name))
    .map(([name, value]) => ` ${name}=${String(value)}`)
  return `${action}@${DEVPATH}${keys.toSorted().join('')}`
}

/** What is told until a parent has gone. */
async function toldBy(api: Api, work: () => Promise<void>): Promise<readonly MachineEvent[]> {
  const told: MachineEvent[] = []
  const events = api.client.events()
  await events.next()
  await work()
  for await (const event of events) {
    if (event.action === 'snapshot') continue
    told.push(event)
    if ('MDEV_STATE' in event && event.MDEV_STATE === 'unregistered') break
  }
  return told
}

describe('events', () => {
  test('have the keys of uevents, in the order of the kernel, from a parent coming to its end', async () => {
    await using api = await Api.start()
    const { client, daemon } = api
    const told = await toldBy(api, async () => {
      await daemon.host(MTTY, 'card')
      await client.start({ parent: 'card', type: 'mtty-2', uuid: u(1) })
      await client.stop(u(1))
      await client.start({ parent: 'card', type: 'mtty-1', uuid: u(2) })
      await daemon.hosts.find('card')?.unregister()
    })
    const card = '/devices/virtual/mtty/card'
    assert.deepEqual(told.map(ueventText), [
      `change@${card} MDEV_STATE=registered SUBSYSTEM=mtty`,
      `add@${card}/${u(1)} SUBSYSTEM=mdev`,
      `bind@${card}/${u(1)} DRIVER=mtty SUBSYSTEM=mdev`,
      `unbind@${card}/${u(1)} SUBSYSTEM=mdev`,
      `remove@${card}/${u(1)} SUBSYSTEM=mdev`,
      `add@${card}/${u(2)} SUBSYSTEM=mdev`,
      `bind@${card}/${u(2)} DRIVER=mtty SUBSYSTEM=mdev`,
      'unregistering@-', // the kernel has no such event
      `unbind@${card}/${u(2)} SUBSYSTEM=mdev`,
      `remove@${card}/${u(2)} SUBSYSTEM=mdev`,
      `change@${card} MDEV_STATE=unregistered SUBSYSTEM=mtty`,
    ])
    const numbers = told.map((event) => ('SEQNUM' in event ? event.SEQNUM : undefined))
    assert.deepEqual(numbers, [1, 2, 3, 4, 5, 6, 7, undefined, 8, 9, 10])
  })

  test('of a creation that fails are add and remove; definitions and clients have no keys', async () => {
    await using api = await Api.start()
    const { client, daemon } = api
    const probe = mprobe()
    const found = await daemon.host(probe.driver, 'a')
    const told = await toldBy(api, async () => {
      probe.failWith = 'EIO'
      await assert.rejects(client.start({ parent: 'a', type: 'mprobe-one', uuid: u(1) }), {
        code: 'EIO',
      })
      const definition = { type: 'mprobe-one', start: 'manual', attributes: [] } as const
      await client.define({ parent: 'a', uuid: u(1) }, definition)
      probe.failWith = undefined
      await client.start({ uuid: u(1) })
      await client.change(u(1), [['assign', 'x']])
      assert.equal(found.host.parent.mdevs.length, 1)
      found.close() // as a crash
    })
    const at = `/devices/virtual/mprobe/a/${u(1)}`
    assert.deepEqual(told.map(ueventText), [
      `add@${at} SUBSYSTEM=mdev`,
      `remove@${at} SUBSYSTEM=mdev`,
      'define@-',
      `add@${at} SUBSYSTEM=mdev`,
      `bind@${at} DRIVER=mprobe SUBSYSTEM=mdev`,
      `change@${at} DRIVER=mprobe SUBSYSTEM=mdev`,
      `remove@${at} SUBSYSTEM=mdev`,
      'change@/devices/virtual/mprobe/a MDEV_STATE=unregistered SUBSYSTEM=mprobe',
    ])
  })

  test('are told as they are written to uevent, and are known by SYNTH_UUID', async () => {
    await using api = await Api.start()
    const { client, daemon } = api
    const found = await daemon.host(MTTY, 'card')
    await client.start({ parent: 'card', type: 'mtty-1', uuid: u(1) })
    using tree = new SysfsTree(new SysfsHosts(daemon.hosts, daemon.machine), silentLogger)
    const walker = new Walker(tree)
    const file = `${DEVICES}/${u(1)}/uevent`
    const told = await toldBy(api, async () => {
      for (const text of ['add\n', 'remove', 'offline\0', `change ${u(9)} A=1 b2=Z\n`])
        assert.equal(await walker.write(file, text), 'ok', text)
      for (const text of ['', '\n', 'ADD', 'added', ' add', 'add ', 'add\n\n', 'add x', 'add A=1'])
        assert.equal(await walker.write(file, text), 'EINVAL', JSON.stringify(text))
      for (const text of [`add ${u(9)} A`, `add ${u(9)} A=.`, `add ${u(9).replaceAll('-', '0')}`])
        assert.equal(await walker.write(file, text), 'EINVAL', text)
      assert.equal(await walker.write(`${CLASS}/card/uevent`, 'change\n'), 'ok')
      // nothing has happened
      assert.equal((await client.list()).mdevs[0]?.active?.state, 'active')
      found.close()
    })
    const card = '/devices/virtual/mtty/card'
    const mdev = `${card}/${u(1)} DRIVER=mtty SUBSYSTEM=mdev`
    assert.deepEqual(told.slice(0, -2).map(ueventText), [
      `add@${mdev} SYNTH_UUID=0`,
      `remove@${mdev} SYNTH_UUID=0`,
      `offline@${mdev} SYNTH_UUID=0`,
      `change@${mdev} SYNTH_ARG_A=1 SYNTH_ARG_b2=Z SYNTH_UUID=${u(9)}`,
      `change@${card} SUBSYSTEM=mtty SYNTH_UUID=0`,
    ])
  })
})
