/** What systemd hands over, and what it hears. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Notifier, takeServiceManager } from '../../src/daemon/notify.ts'
import type { Clock } from '../../src/lib/clock.ts'
import { createLogger } from '../../src/lib/log.ts'
import { DatagramReceiver } from '../support/datagrams.ts'
import { Scratch } from '../support/scratch.ts'

describe('takeServiceManager()', () => {
  test('takes what is for this process, and leaves none of it to children', () => {
    const environment = {
      HOME: '/root',
      NOTIFY_SOCKET: '/run/systemd/notify',
      LISTEN_FDS: '2',
      LISTEN_PID: '42',
      LISTEN_FDNAMES: 'api:api',
      WATCHDOG_USEC: '120000000',
      WATCHDOG_PID: '42',
    }
    assert.deepEqual(takeServiceManager(environment, 42), {
      listenFds: [3, 4],
      notifySocket: '/run/systemd/notify',
      watchdogMs: 120_000,
    })
    assert.deepEqual(environment, { HOME: '/root' })
  })

  test('takes no fds and no watchdog that are for another process, and nothing malformed', () => {
    const others = { LISTEN_FDS: '2', LISTEN_PID: '41', WATCHDOG_USEC: '1000', WATCHDOG_PID: '41' }
    assert.deepEqual(takeServiceManager(others, 42), { listenFds: [] })
    const malformed = { LISTEN_FDS: '-1', LISTEN_PID: '42', WATCHDOG_USEC: 'x', NOTIFY_SOCKET: '' }
    assert.deepEqual(takeServiceManager(malformed, 42), { listenFds: [] })
    assert.deepEqual(takeServiceManager({}, 42), { listenFds: [] })
  })
})

/** A clock whose ticks the test makes. */
class Ticks implements Pick<Clock, 'every'> {
  readonly running = new Map<() => void, number>()

  every(ms: number, action: () => void): () => void {
    this.running.set(action, ms)
    return () => this.running.delete(action)
  }
}

describe('Notifier', () => {
  test('says that it is ready, lives and ends, twice as often as the watchdog wants', () => {
    using scratch = new Scratch()
    const notifySocket = join(scratch.path, 'notify')
    using systemd = new DatagramReceiver(notifySocket)
    const clock = new Ticks()
    const log = createLogger('debug', (line) => assert.fail(line))
    const notifier = new Notifier({ listenFds: [], notifySocket, watchdogMs: 120_000 }, clock, log)
    notifier.ready('serving')
    assert.deepEqual([...clock.running.values()], [60_000])
    for (const tick of clock.running.keys()) tick()
    notifier.reloading()
    notifier.reloaded('serving again')
    assert.equal(clock.running.size, 1)
    notifier.stopping()
    assert.equal(clock.running.size, 0)
    const since = process.hrtime.bigint() / 1000n
    const received = systemd.received()
    const [, usec = '0'] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(received[2] ?? '') ?? []
    assert.ok(BigInt(usec) > 0n && BigInt(usec) <= since, received[2])
    assert.deepEqual(received.toSpliced(2, 1), [
      'READY=1\nSTATUS=serving',
      'WATCHDOG=1',
      'READY=1\nSTATUS=serving again',
      'STOPPING=1',
    ])
  })

  test('says nothing where nobody asked, and warns where nobody listens', () => {
    const lines: string[] = []
    const log = createLogger('warn', (line) => lines.push(line))
    const alone = new Notifier({ listenFds: [] }, new Ticks(), log)
    alone.ready('serving')
    alone.stopping()
    assert.deepEqual(lines, [])
    new Notifier({ listenFds: [], notifySocket: '/nowhere/x' }, new Ticks(), log).ready('serving')
    assert.match(lines.join('\n'), /^warn: notifying the service manager: ENOENT: /)
  })
})
