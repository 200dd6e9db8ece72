/** The API as a server: what goes for every route, and what it does about those who send nonsense or do not read. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { describe, test } from 'node:test'
import { projectRoot } from '../../scripts/test-runner.ts'
import type { Access } from '../../src/http/access.ts'
import { ROUTES } from '../../src/http/routes.ts'
import type { ControlPlane } from '../../src/mdev/control-plane.ts'
import { driverOf, uuid } from '../mdev/support.ts'
import { openFds } from '../support/fds.ts'
import { Api, refusalIn } from './support.ts'
import { until } from '../support/until.ts'

const DEFINITION = { type: 'test-1', start: 'manual', attributes: [] } as const

/** Lets everybody do `access`. */
function allowing(access: Access | undefined) {
  return { rule: { accessOf: () => access } }
}

describe('ApiServer', () => {
  for (const [method, path] of [
    ['GET', '/'],
    ['GET', '/v1'],
    ['GET', '/v1/mdev'],
    ['DELETE', '/v1/parents'],
    ['POST', '/v1/parents'],
    ['HEAD', '/v1/events'],
    ['OPTIONS', '/v1/mdevs'],
    ['GET', '//v1/parents'],
  ] as const) {
    test(`refuses ${method} ${path} with 404 ENOENT`, async () => {
      await using api = await Api.start()
      const reply = await api.ask(method, path)
      if (method === 'HEAD') assert.equal(reply.status, 404)
      else assert.deepEqual(refusalIn(reply), [404, 'ENOENT'])
    })
  }

  for (const [title, bytes, status] of [
    ['no HTTP', 'hello\r\n\r\n', 400],
    ['too large a header', `GET / HTTP/1.1\r\nx: ${'x'.repeat(20_000)}\r\n\r\n`, 431],
    [
      'a body of unknown length and kind',
      'POST /v1/mdevs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
      400,
    ],
  ] as const) {
    test(`refuses ${title} with ${status}, an errno, and the end of the connection`, async () => {
      await using api = await Api.start()
      const socket = connect(api.socketPath)
      socket.write(bytes)
      const [head = '', body = ''] = (await text(socket)).split('\r\n\r\n')
      assert.match(head, new RegExp(`^HTTP/1.1 ${status} `))
      const code = status === 431 ? 'EMSGSIZE' : 'EINVAL'
      assert.deepEqual(refusalIn({ status, headers: {}, body: JSON.parse(body) }), [status, code])
      assert.deepEqual(await api.client.parents(), [])
    })
  }

  test('refuses a body that is not said to be JSON with 415', async () => {
    await using api = await Api.start()
    for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'image/png']) {
      const reply = await api.ask('POST', '/v1/mdevs', '{}', { 'content-type': type })
      assert.deepEqual(refusalIn(reply), [415, 'EINVAL'])
    }
  })

  test('says EIO and nothing else of a bug of ours', async () => {
    const broken = async (): Promise<never> => {
      throw new TypeError('x is undefined')
    }
    const plane = { parents: broken, list: broken } as unknown as ControlPlane
    await using api = await Api.start({ plane })
    for (const path of ['/v1/parents', '/v1/events', '/metrics']) {
      const reply = await api.ask('GET', path)
      assert.deepEqual(refusalIn(reply), [500, 'EIO'])
      assert.doesNotMatch(JSON.stringify(reply.body), /undefined/)
    }
  })

  test('lets readers read and admins do all; others are refused whatever they ask', async () => {
    await using reader = await Api.start(allowing('read'))
    await using nobody = await Api.start(allowing(undefined))
    for (const { method, path, needs } of ROUTES) {
      const target = path.replace(':uuid', uuid(1)).replace(':parent', 'a')
      assert.deepEqual(refusalIn(await nobody.ask(method, target)), [403, 'EACCES'])
      const reply = await reader.ask(method, target)
      if (needs === 'admin') assert.deepEqual(refusalIn(reply), [403, 'EPERM'])
      else assert.notEqual(reply.status, 403)
    }
    for (const path of ['/v1/openapi.json', '/metrics', '/health']) {
      assert.equal((await reader.ask('GET', path)).status, 200)
      assert.deepEqual(refusalIn(await nobody.ask('GET', path)), [403, 'EACCES'])
    }
    assert.deepEqual(refusalIn(await nobody.ask('GET', '/v1/events')), [403, 'EACCES'])
    const stream = reader.client.events()
    assert.equal((await stream.next()).value?.action, 'snapshot')
    await stream.return()
  })

  test('refuses before it reads: a body of somebody who may not send one is not asked for', async () => {
    await using api = await Api.start(allowing('read'))
    const body = `{"x":"${'x'.repeat(300_000)}"}`
    assert.deepEqual(refusalIn(await api.ask('POST', '/v1/mdevs', body)), [403, 'EPERM'])
  })

  test('lists 1000 mdevs, and tells of 1000', async () => {
    await using api = await Api.start()
    const { daemon, client } = api
    for (let number = 0; number < 1000; number++) {
      daemon.definitions.write({ parent: 'a', uuid: uuid(number) }, DEFINITION)
    }
    const { mdevs, faults } = await client.list()
    assert.deepEqual([mdevs.length, faults.length], [1000, 0])
    assert.deepEqual(
      mdevs.map((mdev) => mdev.uuid),
      Array.from({ length: 1000 }, (_, number) => uuid(number)),
    )
    const events = client.events()
    const { value } = await events.next()
    assert.ok(value?.action === 'snapshot')
    assert.deepEqual(value.mdevs, mdevs)
    await events.return()
  })

  test('says how it is, in numbers too', async () => {
    await using api = await Api.start()
    const { daemon } = api
    await daemon.host(driverOf({ maxInstances: 3 }), 'a')
    await daemon.machine.define({ parent: 'b', uuid: uuid(1) }, DEFINITION)
    await daemon.machine.start({ parent: 'a', type: 'test-1' })
    const health = await api.ask('GET', '/health')
    assert.deepEqual(health.body, { status: 'ok', version: '1.2.3', pid: process.pid })
    await api.ask('GET', `/v1/parents/${'x'.repeat(50)}`)
    await api.ask('GET', '/nowhere')
    const { headers, body } = await api.ask('GET', '/metrics')
    assert.match(String(headers['content-type']), /^text\/plain; version=0\.0\.4/)
    const lines = String(body).split('\n')
    for (const line of [
      'mdevkit_build_info{version="1.2.3"} 1',
      'mdevkit_parents 1',
      'mdevkit_available_instances{parent="a",type="test-1"} 2',
      'mdevkit_mdevs{parent="a",type="test-1",state="active"} 1',
      'mdevkit_clients{parent="a"} 0',
      'mdevkit_definitions 1',
      'mdevkit_event_streams 0',
      'mdevkit_http_requests_total{method="GET",route="/health",status="200"} 1',
      'mdevkit_http_requests_total{method="GET",route="/v1/parents/:parent",status="404"} 1',
      'mdevkit_http_requests_total{method="GET",route="none",status="404"} 1',
    ]) {
      assert.ok(lines.includes(line), `${line}\nis not in\n${String(body)}`)
    }
  })

  test('describes itself, as docs/openapi.json does', async () => {
    await using api = await Api.start()
    const { body } = await api.ask('GET', '/v1/openapi.json')
    const file = readFileSync(join(projectRoot(), 'docs', 'openapi.json'), 'utf8')
    const { info, ...rest } = body as { info: object }
    const { info: checkedIn, ...checkedInRest } = JSON.parse(file) as { info: object }
    assert.deepEqual(rest, checkedInRest, 'run: node dist/scripts/openapi.js')
    assert.deepEqual({ ...info, version: '' }, { ...checkedIn, version: '' })
    const operations = Object.values((rest as { paths: object }).paths).flatMap(
      (item: object) => Object.values(item) as { operationId: string }[],
    )
    assert.deepEqual(
      operations.map(({ operationId }) => operationId).toSorted(),
      [...ROUTES.map(({ name }) => name), 'events', 'description', 'metrics', 'health'].toSorted(),
    )
  })
})

describe('EventStreams', () => {
  test('cut off who does not read, and go on for the others', async () => {
    await using api = await Api.start({ maxBacklog: 20_000 })
    const { machine } = api.daemon
    const sent = request({ socketPath: api.socketPath, path: '/v1/events', agent: false }).end()
    const [slow] = (await once(sent, 'response')) as [IncomingMessage]
    const cutOff = once(slow, 'error')
    const events = api.client.events()
    await events.next()
    // more than two sockets' buffers and the backlog hold
    const note = 'x'.repeat(50_000)
    const key = { parent: 'a', uuid: uuid(1) }
    for (let round = 0; round < 20; round++) {
      const others = { note: `${round}${note}` }
      await machine.define(key, { ...DEFINITION, others }, { replace: true })
      assert.equal((await events.next()).value?.action, 'define')
    }
    assert.match(String((await api.ask('GET', '/metrics')).body), /^mdevkit_event_streams 1$/m)
    slow.resume() // and what has come already is read at last
    assert.equal(((await cutOff) as [Error])[0].message, 'aborted')
    await events.return()
  })

  test('are at most 64; one that ends makes room, and no fd is left', async () => {
    await using api = await Api.start()
    await api.client.parents()
    const before = openFds().length
    const streams = Array.from({ length: 64 }, () => api.client.events())
    for (const stream of streams) await stream.next()
    await assert.rejects(api.client.events().next(), { code: 'EAGAIN', message: /64 are open/ })
    const gone = endOf(api, streams.length - 1)
    await streams[0]?.return()
    await gone
    const again = api.client.events()
    assert.equal((await again.next()).value?.action, 'snapshot')
    const allGone = endOf(api, 0)
    for (const stream of [...streams, again]) await stream.return()
    await allGone
    assert.ok(openFds().length <= before + 2, openFds().join('\n'))
  })

  /** Resolves once only so many are open. */
  async function endOf(api: Api, count: number): Promise<void> {
    await until(async () => {
      const { body } = await api.ask('GET', '/metrics')
      assert.equal(/^mdevkit_event_streams (\d+)$/m.exec(String(body))?.[1], `${count}`)
    })
  }
})
