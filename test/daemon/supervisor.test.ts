/** Supervision of hosts: real processes that come, are found, end and are started again. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { chmodSync, readFileSync, statSync } from 'node:fs'
import { test } from 'node:test'
import type { LaunchConfig } from '../../src/daemon/host-launch.ts'
import { Hosts } from '../../src/daemon/hosts.ts'
import { type Supervised, Supervisor } from '../../src/daemon/supervisor.ts'
import type { ControlClient } from '../../src/host/control-client.ts'
import { hostLock, shareRoot } from '../../src/host/paths.ts'
import { createLogger, silentLogger } from '../../src/lib/log.ts'
import { isLocked, lockHolder } from '../../src/os/file-lock.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { serve } from '../support/mdevkit.ts'
import { killAllOf } from '../support/root-processes.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

/** Ends what it has started, and waits until it has gone. */
class Bench implements AsyncDisposable {
  readonly scratch = new Scratch()
  readonly root = `${this.scratch.path}/root`
  readonly hosts: Hosts
  readonly logged: string[] = []
  readonly #supervisors: Supervisor[] = []

  constructor() {
    this.hosts = new Hosts(this.root, silentLogger)
  }

  supervisor(
    driver: string,
    options: { hosts?: Hosts; parent?: string; startMs?: number; launch?: LaunchConfig } = {},
  ): Supervisor {
    const supervisor = new Supervisor({
      parent: 'serial',
      driver,
      root: this.root,
      hosts: this.hosts,
      log: createLogger('info', (line) => this.logged.push(line)),
      backOff: { firstMs: 10, longestMs: 50 },
      ...options,
    })
    this.#supervisors.push(supervisor)
    return supervisor
  }

  /** The next host that comes up. */
  async up(hosts = this.hosts): Promise<ControlClient> {
    const [host] = (await once(hosts, 'up')) as [ControlClient]
    return host
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const supervisor of this.#supervisors) supervisor.stop()
    this.hosts.close()
    await killAllOf(this.root)
    this.scratch[Symbol.dispose]()
  }
}

test('Supervisor starts a host, and starts it again when it is killed', async () => {
  await using bench = new Bench()
  const supervisor = bench.supervisor('mtty')
  const up = bench.up()
  supervisor.start()
  supervisor.start()
  assert.equal(supervisor.now.state, 'starting')
  const first = await up
  assert.deepEqual(supervisor.now, { state: 'up', pid: first.pid })
  await first.create('mtty-1', UUID, [['ports', 'loopback']])
  const again = bench.up()
  process.kill(first.pid, 'SIGKILL')
  const second = await again
  assert.notEqual(second.pid, first.pid)
  assert.deepEqual(second.parent.mdevs, []) // who wants them back creates them
  assert.match(bench.logged.join('\n'), /parent serial: its host has gone; tried again in 0.0 s/)
})

test('Supervisor takes a host that is there already as it is, mdevs included', async () => {
  await using bench = new Bench()
  const first = bench.supervisor('mtty')
  const up = bench.up()
  first.start()
  const host = await up
  await host.create('mtty-1', UUID, [['ports', 'loopback']])
  first.stop() // as when the daemon ends
  const later = new Hosts(bench.root, silentLogger)
  const found = await bench.up(later)
  const second = bench.supervisor('mtty', { hosts: later })
  second.start()
  assert.deepEqual(second.now, { state: 'up', pid: host.pid })
  assert.deepEqual(
    found.parent.mdevs.map(({ uuid, state }) => [uuid, state]),
    [[UUID, 'active']],
  )
  second.stop()
  later.close()
})

for (const [title, source, why] of [
  ['throws when it is imported', 'throw new Error("no such card")', /no such card/],
  ['is no driver', 'export const nothing = 1', /./],
  [
    'never ends its import',
    'await new Promise(() => setInterval(() => {}, 1000))',
    /has not come up in 0.5 s/,
  ],
] as const) {
  test(`Supervisor says why where a driver ${title}, and tries again`, async () => {
    await using bench = new Bench()
    const driver = bench.scratch.write('driver.mjs', source)
    const supervisor = bench.supervisor(driver, {
      startMs: title.startsWith('never') ? 500 : 20_000,
    })
    supervisor.start()
    const waiting = await waitFor(supervisor, 'waiting')
    assert.match(waiting.state === 'waiting' ? waiting.why : '', why)
    const again = await waitFor(supervisor, 'starting')
    assert.match(again.state === 'starting' ? again.before : '', why)
    await waitFor(supervisor, 'waiting')
  })
}

/** Resolves once it is in `state`. */
async function waitFor(supervisor: Supervisor, state: Supervised['state']): Promise<Supervised> {
  return until(() => {
    const { now } = supervisor
    assert.equal(now.state, state, JSON.stringify(now))
    return now
  })
}

test('Supervisor starts no second host beside one that an earlier daemon has started', async () => {
  await using bench = new Bench()
  const go = `${bench.scratch.path}/go`
  const source = `
    import { existsSync } from 'node:fs'
    while (!existsSync(${JSON.stringify(go)})) await new Promise((resolve) => setTimeout(resolve, 5))
    export const slow = { name: 'slow', types: { 1: {} }, probe: () => ({ reset() {} }) }
  `
  const driver = bench.scratch.write('driver.mjs', source)
  const first = bench.supervisor(driver)
  first.start()
  const pid = await holder(bench.root)
  first.stop() // as when the daemon is killed
  const second = bench.supervisor(driver)
  second.start()
  const waiting = await waitFor(second, 'waiting')
  const why = `the host with pid ${pid} has that name, and cannot be managed`
  assert.equal(waiting.state === 'waiting' && waiting.why, why)
  const up = bench.up()
  bench.scratch.write('go', '')
  assert.equal((await up).pid, pid)
  assert.deepEqual(second.now, { state: 'up', pid })
})

test('Supervisor never ends a host that has the name and is not its own', async () => {
  await using bench = new Bench()
  await using other = await serve(['mtty', '--set', 'ports=loopback'], { root: bench.root })
  const supervisor = bench.supervisor('mtty', { startMs: 30, parent: other.report.parent })
  supervisor.start()
  for (let tries = 0; tries < 5; tries++) {
    const { pid } = other.host
    const waiting = await waitFor(supervisor, 'waiting')
    const why = `the host with pid ${pid} has that name, and cannot be managed`
    assert.equal(waiting.state === 'waiting' && waiting.why, why)
    const logged = bench.logged.length
    await until(() => bench.logged.length > logged, 'another line in the log')
  }
  supervisor.stop()
  assert.equal((await other.host.stop()).signal, null)
})

/** Resolves once a host has the parent's name. @returns its pid */
async function holder(root: string): Promise<number> {
  const lock = hostLock(root, 'serial')
  return until(
    () => (isLocked(lock) ? (lockHolder(lock) ?? false) : false),
    'a host to have the name',
  )
}

test(
  'Supervisor starts a host as another user, who can bear mdevs all the same',
  { skip: process.geteuid?.() !== 0 && 'only root can become another' },
  async () => {
    await using bench = new Bench()
    chmodSync(bench.scratch.path, 0o755)
    shareRoot(bench.root, 65_534)
    const up = bench.up()
    bench.supervisor('mtty', { launch: { user: 'nobody' } }).start()
    const host = await up
    const status = readFileSync(`/proc/${host.pid}/status`, 'utf8')
    assert.match(status, /^Uid:\t65534\t65534/m)
    assert.match(status, /^NoNewPrivs:\t1$/m)
    assert.match(status, /^CapPrm:\t0+$/m)
    const { socket = '' } = await host.create('mtty-1', UUID, [['ports', 'loopback']])
    const { uid, mode } = statSync(socket)
    assert.deepEqual([uid, mode & 0o777], [65_534, 0o600])
    const guest = await Client.attach(socket)
    assert.equal(await guest.readRegister(7, 0, 4), 0x3253_4348)
    guest.detach()
    await host.remove(UUID, { wait: true })
  },
)
