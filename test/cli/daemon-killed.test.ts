/** kill -9 of the daemon and of hosts at any moment: what was defined is there, what ran is found or cleaned up, and nothing is left. */
import assert from 'node:assert/strict'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { uuid } from '../mdev/support.ts'
import { kill, killAllOf } from '../support/root-processes.ts'
import { until } from '../support/until.ts'
import { KilledMachine, killed } from './killed-machine.ts'

/** Moments, ms after the daemon was started or had answered: from before its first line to well after all has settled. */
const MOMENTS = [0, 40, 90, 150, 220, 300, 400, 550, 750, 1000, 1500]
const MDEVS = [1, 2, 3].map((number) => uuid(number))
const AUTO = { type: 'mtty-1', start: 'auto', attributes: [['ports', 'loopback']] } as const

test('kill -9 of the daemon at any moment leaves all that was defined, and one host that bears it', async () => {
  await using machine = new KilledMachine()
  for (const id of MDEVS) machine.store.write({ parent: 'serial', uuid: id }, AUTO)
  for (const moment of MOMENTS) {
    const daemon = machine.start()
    await new Promise((resolve) => setTimeout(resolve, moment))
    await killed(daemon)
    if (moment % 4 === 0) for (const pid of machine.hosts()) kill(pid) // or both, every now and then
  }
  const daemon = await machine.whole(MDEVS)
  const { mdevs, faults } = await machine.api.list()
  assert.deepEqual(
    mdevs.map((mdev) => [mdev.uuid, mdev.active?.attributes]),
    MDEVS.map((id) => [id, AUTO.attributes]),
  )
  assert.deepEqual(faults, [])
  const [parent] = await machine.api.parents()
  assert.ok(parent?.pid !== undefined)
  // hosts that lost the race for the name end by themselves
  await until(() => assert.deepEqual(machine.hosts(), [parent.pid]))
  const devices = readdirSync(join(machine.root, 'devices')).toSorted()
  assert.deepEqual(devices, MDEVS)
  await killed(daemon)
})

test('kill -9 of hosts at any moment: what is auto is back, what was not is gone, and nothing of it is left', async () => {
  await using machine = new KilledMachine()
  for (const id of MDEVS) machine.store.write({ parent: 'serial', uuid: id }, AUTO)
  const daemon = await machine.whole(MDEVS)
  const transient = uuid(99)
  const { attributes } = AUTO
  await machine.api.start({ parent: 'serial', type: 'mtty-1', uuid: transient, attributes })
  for (const moment of [0, 100, 300]) {
    await new Promise((resolve) => setTimeout(resolve, moment))
    for (const pid of machine.hosts()) kill(pid)
  }
  await machine.allActive(MDEVS)
  assert.deepEqual(readdirSync(join(machine.root, 'devices')).toSorted(), MDEVS)

  await killed(daemon)
  await killAllOf(machine.root)
  // the kernel closes what a process had a moment after it is said to have ended
  await until(() => assert.deepEqual(machine.listening(), []))
  const next = await machine.whole(MDEVS)
  assert.deepEqual(readdirSync(join(machine.root, 'devices')).toSorted(), MDEVS)
  await killed(next)
})
