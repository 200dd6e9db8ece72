/** The configuration, changed while the daemon runs: what comes, what goes on, and what is refused as a whole. */
import assert from 'node:assert/strict'
import { chmodSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { type DaemonConfig, parseConfig } from '../../src/daemon/config.ts'
import { createLogger } from '../../src/lib/log.ts'
import { uuid } from '../mdev/support.ts'
import { kill, killAllOf } from '../support/root-processes.ts'
import { until } from '../support/until.ts'
import { Bench } from './bench.ts'

const LOOPBACK = [['ports', 'loopback']] as const

class Machine extends Bench {
  readonly logged: string[] = []
  readonly log = createLogger('info', (line) => this.logged.push(line))

  async pidOf(parent: string): Promise<number> {
    return until(async () => {
      const found = (await this.client.parents()).find(({ name }) => name === parent)
      return found?.pid ?? false
    }, `a host of ${parent}`)
  }

  /** What the log has since the last call. */
  take(): string {
    return this.logged.splice(0).join('\n')
  }

  override async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
    await killAllOf(this.root)
    await super[Symbol.asyncDispose]()
  }
}

function configOf(...lines: readonly string[]): DaemonConfig {
  return parseConfig(lines.join('\n'), '/etc/x.toml')
}

test('Daemon.reload() starts hosts of new parents, and takes none away from anybody', async () => {
  await using machine = new Machine()
  const { client, log } = machine
  const [a, b] = ['[parents.a]\ndriver = "mtty"', '[parents.b]\ndriver = "mtty"']
  const daemon = await machine.daemon(configOf(a), { log })
  const first = await machine.pidOf('a')
  await client.start({ parent: 'a', type: 'mtty-1', uuid: uuid(1), attributes: LOOPBACK })
  daemon.reload(configOf(a, b))
  const second = await machine.pidOf('b')
  assert.equal(await machine.pidOf('a'), first)
  machine.take()
  daemon.reload(configOf(b))
  assert.match(
    machine.take(),
    new RegExp(
      `parent a: not in the configuration any more; its host, pid ${first}, goes on, and mdevkit unregister a ends it`,
    ),
  )
  assert.deepEqual(
    (await client.parents()).map(({ name, pid, mdevs }) => [name, pid, mdevs.length]),
    [
      ['a', first, 1],
      ['b', second, 0],
    ],
  )
  daemon.reload(configOf(a, b)) // it is there still
  kill(first)
  await until(async () => (await machine.pidOf('a')) !== first)
  daemon.reload(configOf(b))
  await client.unregister('a')
  assert.deepEqual(
    (await client.parents()).map(({ name }) => name),
    ['b'],
  )
  assert.equal(await machine.pidOf('b'), second)
})

test('Daemon.reload() has what has changed of a parent be so from the next start of its host', async () => {
  await using machine = new Machine()
  const { client, log } = machine
  const broken = machine.scratch.write('card.mjs', 'throw new Error("no such card")')
  const of = (driver: string) =>
    configOf(`[parents.a]\ndriver = "mtty"\n[parents.b]\ndriver = "${driver}"`)
  const daemon = await machine.daemon(of(broken), { log })
  const first = await machine.pidOf('a')
  await until(async () => /no such card/.test((await client.parents())[1]?.waits ?? ''))
  daemon.reload(of('mtty')) // tried at once, with the driver that is there
  await machine.pidOf('b')
  machine.take()
  daemon.reload(configOf('[parents.a]\ndriver = "nvme"\n[parents.b]\ndriver = "mtty"'))
  assert.match(
    machine.take(),
    /parent a: its configuration has changed, for when its host is next started/,
  )
  assert.equal((await client.parents())[0]?.pid, first)
  assert.equal((await client.parents())[0]?.driver, 'mtty')
  await client.unregister('a')
  const { waits } = await client.register('a')
  assert.match(waits ?? '', /image/) // which the driver nvme misses
})

test('Daemon.reload() leaves a parent away that was unregistered', async () => {
  await using machine = new Machine()
  const { client, log } = machine
  const a = '[parents.a]\ndriver = "mtty"'
  const daemon = await machine.daemon(configOf(a), { log })
  await machine.pidOf('a')
  await client.unregister('a')
  for (const config of [configOf(`${a}\ncpu = "50%"`), configOf(), configOf(a)]) {
    daemon.reload(config)
    const [view] = await client.parents()
    assert.equal(view?.unregistered, config.parents.has('a') ? true : undefined)
  }
  assert.ok((await client.register('a')).pid !== undefined)
})

test('Daemon.reload() changes quotas, and names what it cannot change', async () => {
  await using machine = new Machine()
  const { client, log } = machine
  const daemon = await machine.daemon(configOf(), { log })
  machine.host('a')
  await machine.pidOf('a')
  daemon.reload(configOf('[parents.b]\ndriver = "./none.js"\n[owners.x]\nmax-mdevs = 0'))
  await client.start({ parent: 'a', type: 'test-1', uuid: uuid(1) })
  const limited = '[parents.a]\ndriver = "mtty"\nmax-mdevs = 1'
  machine.take()
  daemon.reload(configOf('scripts = ["/x"]', '[api]\nread = "everyone"', limited))
  const told = machine.take()
  for (const key of ['scripts', 'api'])
    assert.ok(
      told.includes(`configuration: ${key} has changed, for when the daemon is next started`),
    )
  assert.doesNotMatch(told, /definitions has changed|sysfs has changed/)
  const more = async () => client.start({ parent: 'a', type: 'test-1', uuid: uuid(2) })
  await assert.rejects(more(), { code: 'EDQUOT' })
  assert.equal((await client.list()).mdevs.length, 1) // nothing is taken away
  daemon.reload(configOf())
  await more()
})

test('Daemon.reload() changes nothing where a host cannot have its user', async () => {
  await using machine = new Machine()
  const daemon = await machine.daemon(configOf('[parents.a]\ndriver = "mtty"'))
  const pid = await machine.pidOf('a')
  const bad = '[parents.b]\ndriver = "mtty"\nuser = "nobody-knows-whom"'
  assert.throws(() => daemon.reload(configOf(bad)), { code: 'EINVAL', message: /not known here/ })
  assert.deepEqual(
    (await machine.client.parents()).map(({ name, pid: host }) => [name, host]),
    [['a', pid]],
  )
})

test(
  'Daemon.reload() refuses another group of hosts than that which has their directories',
  { skip: process.geteuid?.() !== 0 && 'only root can become another' },
  async () => {
    await using machine = new Machine()
    const of = (parent: string, group: number) =>
      `[parents.${parent}]\ndriver = "mtty"\nuser = "nobody"\ngroup = ${group}`
    const config = configOf(of('a', 65_533), '[owners.x]\nmax-mdevs = 1')
    chmodSync(machine.scratch.path, 0o755)
    const daemon = await machine.daemon(config)
    const hosts = join(machine.root, 'hosts')
    assert.throws(() => daemon.reload(configOf(of('b', 65_532))), {
      code: 'EINVAL',
      message: 'parent b: group 65532: hosts share group 65533 until the daemon is started anew',
    })
    assert.equal(statSync(hosts).gid, 65_533)
    daemon.reload(configOf(of('b', 65_533)))
    await machine.pidOf('b')
  },
)
