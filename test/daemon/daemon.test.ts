/** The daemon: finds hosts, again and again; says why it waits; lets in whom it should. */
import assert from 'node:assert/strict'
import { existsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { type DaemonConfig, parseConfig } from '../../src/daemon/config.ts'
import { apiSocket } from '../../src/http/client.ts'
import { createLogger } from '../../src/lib/log.ts'
import { uuid } from '../mdev/support.ts'
import { ask, refusalIn } from '../http/support.ts'
import { openFds } from '../support/fds.ts'
import { Bench } from './bench.ts'

const AUTO = { type: 'test-1', start: 'auto', attributes: [] } as const
const ADMIN = 'a'.repeat(32)
const READ = 'r'.repeat(32)

describe('Daemon.start()', () => {
  test('knows the hosts that were there before when it begins to answer, and starts what is auto', async () => {
    await using bench = new Bench()
    bench.store.write({ parent: 'a', uuid: uuid(1) }, AUTO)
    const daemon = await bench.daemon()
    assert.deepEqual((await bench.client.list()).mdevs, [
      { parent: 'a', uuid: uuid(1), definition: AUTO, waits: 'parent a: no host runs it' },
    ])
    const events = bench.client.events()
    await events.next()
    bench.host('a')
    for await (const { action } of events) if (action === 'bind') break
    await daemon.close()
    assert.ok(!existsSync(apiSocket(bench.root)))
    await bench.daemon()
    const { mdevs } = await bench.client.list()
    assert.deepEqual(
      mdevs.map(({ active, waits }) => [active?.state, waits]),
      [['active', undefined]],
    )
    assert.deepEqual(
      (await bench.client.parents()).map(({ name }) => name),
      ['a'],
    )
  })

  test('refuses a second daemon for the same root with EBUSY, naming the first, and leaves nothing', async () => {
    await using bench = new Bench()
    await bench.daemon()
    const before = openFds()
    await assert.rejects(bench.daemon(), {
      code: 'EBUSY',
      message: new RegExp(`pid ${process.pid} has it`),
    })
    assert.deepEqual(openFds(), before)
    assert.deepEqual(await bench.client.parents(), [])
  })

  test('gives everything back where its port is taken', async () => {
    await using bench = new Bench()
    const tcp = { host: '127.0.0.1', tokens: { admin: ADMIN } }
    const first = await bench.daemon(withTcp({ ...tcp, port: 0 }))
    const port = first.tcpPort ?? 0
    const root = join(bench.scratch.path, 'other')
    await assert.rejects(bench.daemon(withTcp({ ...tcp, port }), { root }), { code: 'EADDRINUSE' })
    assert.ok(!existsSync(apiSocket(root)))
    await bench.daemon(parseConfig('', '/x'), { root })
  })

  test('refuses a token that anybody could guess', async () => {
    await using bench = new Bench()
    const config = withTcp({ host: '127.0.0.1', port: 0, tokens: { admin: 'secret' } })
    await assert.rejects(bench.daemon(config), { code: 'EINVAL', message: /admin token: shorter/ })
    await bench.daemon()
  })
})

describe('Daemon', () => {
  test('tells of definitions that somebody else has written', async () => {
    await using bench = new Bench()
    bench.store.write({ parent: 'a', uuid: uuid(1) }, AUTO)
    await bench.daemon()
    const events = bench.client.events()
    await events.next()
    bench.store.write({ parent: 'a', uuid: uuid(2) }, AUTO)
    const defined = { action: 'define', parent: 'a', uuid: uuid(2), definition: AUTO }
    assert.deepEqual((await events.next()).value, defined)
    await events.return()
  })

  test('says of a parent that it supervises why its host is not there', async () => {
    await using bench = new Bench()
    bench.store.write({ parent: 'card', uuid: uuid(1) }, AUTO)
    const driver = bench.scratch.write('card.mjs', 'throw new Error("no such card")')
    const parents = new Map([['card', { driver }]])
    let said = (): void => {}
    const saidSo = new Promise<void>((resolve) => {
      said = resolve
    })
    const log = createLogger('warn', () => said())
    await bench.daemon({ ...parseConfig('', '/x'), parents }, { log })
    assert.match(
      (await bench.client.list()).mdevs[0]?.waits ?? '',
      /parent card: its host is starting/,
    )
    await saidSo
    assert.match((await bench.client.list()).mdevs[0]?.waits ?? '', /parent card: .*no such card/)
    const [card] = await bench.client.parents()
    assert.match(card?.waits ?? '', /no such card/)
    assert.deepEqual(
      [card?.name, card?.driver, card?.state, card?.types, card?.mdevs, card?.pid],
      ['card', driver, 'unregistered', [], [], undefined],
    )
  })

  test('lets readers on its socket read, if it is to, and its root be passed', async () => {
    await using bench = new Bench()
    const api = { ...parseConfig('', '/x').api, mode: 0o666 }
    await bench.daemon({ ...parseConfig('', '/x'), api })
    assert.equal(statSync(apiSocket(bench.root)).mode & 0o777, 0o666)
    assert.equal(statSync(bench.root).mode & 0o777, 0o711)
  })

  test('asks for a token on TCP: none 401, that of readers reads, that of admins does all', async () => {
    await using bench = new Bench()
    const tokens = { admin: ADMIN, read: READ }
    const { tcpPort = 0 } = await bench.daemon(withTcp({ host: '127.0.0.1', port: 0, tokens }))
    const at = { host: '127.0.0.1', port: tcpPort }
    const bearer = (token: string) => ({ authorization: `Bearer ${token}` })
    for (const headers of [{}, bearer('x'.repeat(32)), { authorization: `Basic ${ADMIN}` }]) {
      for (const path of ['/v1/parents', '/health', '/v1/events', '/nowhere']) {
        const refused = await ask(at, 'GET', path, undefined, headers)
        assert.deepEqual(refusalIn(refused), [401, 'EACCES'])
        assert.equal(refused.headers['www-authenticate'], 'Bearer realm="mdevkit"')
      }
    }
    const mdev = { parent: 'a', uuid: uuid(1), definition: AUTO }
    assert.equal((await ask(at, 'GET', '/v1/parents', undefined, bearer(READ))).status, 200)
    const refused = await ask(at, 'POST', '/v1/definitions', mdev, bearer(READ))
    assert.deepEqual(refusalIn(refused), [403, 'EPERM'])
    assert.equal((await ask(at, 'POST', '/v1/definitions', mdev, bearer(ADMIN))).status, 201)
  })
})

function withTcp(tcp: NonNullable<DaemonConfig['api']['tcp']>): DaemonConfig {
  const config = parseConfig('', '/x')
  return { ...config, api: { ...config.api, tcp } }
}
