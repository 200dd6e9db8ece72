/** Autostart: what is 'auto' runs whenever its parent is there. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { Autostart } from '../../src/daemon/autostart.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { driverOf, probeNothing } from '../mdev/support.ts'
import { Daemon } from './support.ts'

const [ONE, TWO, THREE] = ['1', '2', '3'].map(
  (digit) => `0000000${digit}-0000-4000-8000-000000000000`,
) as [string, string, string]
const AUTO = { type: 'test-1', start: 'auto', attributes: [] } as const

/** Resolves once `uuid` is active. */
async function active(daemon: Daemon, uuid: string): Promise<void> {
  for (;;) {
    const mdev = (await daemon.machine.list()).mdevs.find((each) => each.uuid === uuid)
    if (mdev?.active?.state === 'active') return
    await once(daemon.hosts, 'event')
  }
}

function autostart(daemon: Daemon): Autostart & Disposable {
  const { machine, hosts } = daemon
  const options = { machine, hosts, log: silentLogger, backOff: { firstMs: 5, longestMs: 20 } }
  const started = new Autostart(options)
  return Object.assign(started, { [Symbol.dispose]: () => started.close() })
}

test('Autostart starts what is auto when its parent comes, and again when it comes back', async () => {
  using daemon = new Daemon()
  await daemon.machine.define({ parent: 'a', uuid: ONE }, AUTO)
  await daemon.machine.define({ parent: 'a', uuid: TWO }, { ...AUTO, start: 'manual' })
  await daemon.machine.define({ parent: 'b', uuid: THREE }, AUTO)
  using starting = autostart(daemon)
  const found = await daemon.host(driverOf(), 'a')
  await active(daemon, ONE)
  const down = once(daemon.hosts, 'down')
  found.close()
  await down
  const again = await daemon.host(driverOf(), 'a')
  await active(daemon, ONE)
  assert.deepEqual(
    again.host.parent.mdevs.map(({ uuid }) => uuid),
    [ONE],
  )
  assert.deepEqual(starting.waiting, [])
})

test('Autostart starts what is auto on parents that were there before', async () => {
  using daemon = new Daemon()
  await daemon.host(driverOf(), 'a')
  await daemon.machine.define({ parent: 'a', uuid: ONE }, AUTO)
  using starting = autostart(daemon)
  await active(daemon, ONE)
  assert.deepEqual(starting.waiting, [])
})

test('Autostart keeps trying, and says why it waits', async () => {
  using daemon = new Daemon()
  let broken = true
  const driver = driverOf({
    probe(mdev) {
      if (broken) throw new ErrnoError('ENODEV', 'the cable is pulled')
      return probeNothing(mdev)
    },
  })
  await daemon.machine.define({ parent: 'a', uuid: ONE }, AUTO)
  using starting = autostart(daemon)
  const waiting = once(starting, 'waiting')
  await daemon.host(driver, 'a')
  await waiting
  assert.deepEqual(starting.waiting, [
    { parent: 'a', uuid: ONE, why: 'ENODEV: the cable is pulled' },
  ])
  broken = false
  assert.deepEqual(await once(starting, 'started'), [{ parent: 'a', uuid: ONE }])
  assert.deepEqual(starting.waiting, [])
})

test('Autostart gives up on what is no longer defined as auto', async () => {
  using daemon = new Daemon()
  const driver = driverOf({
    async probe() {
      await daemon.machine.undefine(ONE)
      throw new ErrnoError('ENODEV', 'no')
    },
  })
  await daemon.machine.define({ parent: 'a', uuid: ONE }, AUTO)
  using starting = autostart(daemon)
  const forgotten = once(starting, 'forgotten')
  await daemon.host(driver, 'a')
  assert.deepEqual(await forgotten, [{ parent: 'a', uuid: ONE }])
  assert.deepEqual(starting.waiting, [])
})
