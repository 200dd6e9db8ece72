/** Every route of the table: what it answers has the promised shape, and each refusal its errno and a fitting status. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { Check, Errors } from 'typebox/value'
import { type Route, ROUTES } from '../../src/http/routes.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { choice } from '../../src/mdev/attribute.ts'
import { driverOf, probeNothing, uuid } from '../mdev/support.ts'
import { Api, refusalIn } from './support.ts'

const DEFINITION = { type: 'test-1', start: 'manual', attributes: [] } as const
const SPEED = choice(['slow', 'fast'], {
  default: 'slow',
  description: 'How fast.',
  change: 'live',
})
const DRIVER = driverOf({
  types: { 1: { description: 'a thing' }, 2: {} },
  attributes: {
    speed: SPEED,
    shape: { ...SPEED, change: 're-creation' },
    model: { ...SPEED, change: 'next-start' },
  },
  parentAttributes: { pace: SPEED, kind: { ...SPEED, change: 'next-start' } },
  changeParentAttributes: () => {},
  maxInstances: 2,
  probe(mdev) {
    if (mdev.type === DRIVER.types['2']) throw new ErrnoError('EIO', 'the card is broken')
    return { ...probeNothing(mdev), changeAttributes: () => {} }
  },
})

/** One request: method, path, body; then the status, with the errno of a refusal. */
type Case = readonly [
  path: string,
  body: string | object | undefined,
  status: number,
  code?: string,
]

/** In order; the parent `a` is there, uuid 1 is defined and active, 2 defined, 3 used by a client, and 6 defined on `b`. */
const CASES: Readonly<Record<string, readonly Case[]>> = {
  parents: [['/v1/parents', undefined, 200]],
  parent: [
    ['/v1/parents/a', undefined, 200],
    ['/v1/parents/A', undefined, 404, 'ENOENT'],
    [`/v1/parents/${'x'.repeat(300)}`, undefined, 404, 'ENOENT'],
    ['/v1/parents/%2e%2e%2f', undefined, 404, 'ENOENT'],
    ['/v1/parents/%zz', undefined, 400, 'EINVAL'],
  ],
  changeParent: [
    ['/v1/parents/a', { attributes: [['pace', 'fast']] }, 200],
    ['/v1/parents/a', { attributes: [['pace', 'faster']] }, 400, 'EINVAL'],
    ['/v1/parents/a', { attributes: [['kind', 'fast']] }, 501, 'EOPNOTSUPP'],
    ['/v1/parents/a', { attributes: [['colour', 'red']] }, 404, 'ENOENT'],
    ['/v1/parents/b', { attributes: [['pace', 'fast']] }, 404, 'ENOENT'],
    ['/v1/parents/a', {}, 400, 'EINVAL'],
    ['/v1/parents/a?takeOver=maybe', { attributes: [] }, 400, 'EINVAL'],
    ['/v1/parents/a?takeOver=true', { attributes: [['pace', 'slow']] }, 200],
  ],
  unregister: [
    ['/v1/parents/a/unregister', {}, 409, 'EBUSY'],
    ['/v1/parents/A/unregister', {}, 404, 'ENOENT'],
    ['/v1/parents/a/unregister', { force: 'yes' }, 400, 'EINVAL'],
    ['/v1/parents/a/unregister', { forced: true }, 400, 'EINVAL'],
    ['/v1/parents/a/unregister', undefined, 400, 'EINVAL'],
    ['/v1/parents/a/unregister?takeOver=maybe', {}, 400, 'EINVAL'],
    ['/v1/parents/a/unregister?takeOver=true', { force: true }, 204],
  ],
  register: [
    ['/v1/parents/a/register', undefined, 409, 'EEXIST'],
    ['/v1/parents/b/register', undefined, 404, 'ENOENT'],
  ],
  list: [['/v1/mdevs', undefined, 200]],
  mdev: [
    [`/v1/mdevs/${uuid(1).toUpperCase()}`, undefined, 200],
    [`/v1/mdevs/${uuid(9)}`, undefined, 404, 'ENOENT'],
    ['/v1/mdevs/1', undefined, 400, 'EINVAL'],
  ],
  start: [
    ['/v1/mdevs', { uuid: uuid(1) }, 409, 'EEXIST'],
    ['/v1/mdevs', { uuid: uuid(2), type: 'test-2' }, 409, 'EEXIST'],
    ['/v1/mdevs', { parent: 'a' }, 400, 'EINVAL'],
    ['/v1/mdevs', { parent: 'A', type: 'test-1' }, 404, 'ENOENT'],
    ['/v1/mdevs', { parent: 'a', type: 'test-9' }, 404, 'ENOENT'],
    ['/v1/mdevs', { parent: 'a', type: 'test-1' }, 507, 'EUSERS'],
    ['/v1/mdevs', { parent: 'a', type: 'test-1', attributes: [['size', '1']] }, 404, 'ENOENT'],
    ['/v1/mdevs', {}, 400, 'EINVAL'],
    ['/v1/mdevs', { uuid: 1 }, 400, 'EINVAL'],
    ['/v1/mdevs', { uuidd: uuid(2) }, 400, 'EINVAL'],
    ['/v1/mdevs', { attributes: [['a']] }, 400, 'EINVAL'],
    ['/v1/mdevs', { attributes: { a: 'b' } }, 400, 'EINVAL'],
    ['/v1/mdevs', [], 400, 'EINVAL'],
    ['/v1/mdevs', 'null', 400, 'EINVAL'],
    ['/v1/mdevs', '', 400, 'EINVAL'],
    ['/v1/mdevs', undefined, 400, 'EINVAL'],
    ['/v1/mdevs', '{"uuid":', 400, 'EINVAL'],
    ['/v1/mdevs', '{"__proto__":{"force":true}}', 400, 'EINVAL'],
    ['/v1/mdevs', `{"uuid":"${'x'.repeat(256 * 1024)}"}`, 413, 'EMSGSIZE'],
  ],
  change: [
    [`/v1/mdevs/${uuid(1)}`, { attributes: [['speed', 'fast']] }, 200],
    [`/v1/mdevs/${uuid(1)}`, { attributes: [['speed', 'none']] }, 400, 'EINVAL'],
    [`/v1/mdevs/${uuid(1)}`, { attributes: [['size', '1']] }, 404, 'ENOENT'],
    [`/v1/mdevs/${uuid(1)}`, { attributes: [['shape', 'fast']] }, 501, 'EOPNOTSUPP'],
    [`/v1/mdevs/${uuid(1)}`, { attributes: [['model', 'fast']] }, 200],
    [`/v1/mdevs/${uuid(3)}`, { attributes: [['model', 'fast']] }, 409, 'EBUSY'],
    [`/v1/mdevs/${uuid(1)}`, {}, 400, 'EINVAL'],
    [`/v1/mdevs/${uuid(2)}`, { attributes: [] }, 404, 'ENOENT'],
  ],
  stop: [
    [`/v1/mdevs/${uuid(3)}/stop`, {}, 409, 'EBUSY'],
    [`/v1/mdevs/${uuid(2)}/stop`, {}, 404, 'ENOENT'],
    [`/v1/mdevs/${uuid(1)}/stop`, { force: 'yes' }, 400, 'EINVAL'],
    [`/v1/mdevs/${uuid(1)}/stop`, {}, 204],
    [`/v1/mdevs/${uuid(3)}/stop`, { force: true }, 204],
  ],
  define: [
    ['/v1/definitions', { parent: 'b', uuid: uuid(4).toUpperCase(), definition: DEFINITION }, 201],
    ['/v1/definitions', { parent: 'b', uuid: uuid(4), definition: DEFINITION }, 409, 'EEXIST'],
    ['/v1/definitions', { parent: '../b', uuid: uuid(5), definition: DEFINITION }, 400, 'EINVAL'],
    ['/v1/definitions', { parent: 'b', uuid: 'x', definition: DEFINITION }, 400, 'EINVAL'],
    [
      '/v1/definitions',
      { parent: 'b', uuid: uuid(5), definition: { ...DEFINITION, start: 'never' } },
      400,
      'EINVAL',
    ],
    [
      '/v1/definitions',
      { parent: 'b', uuid: uuid(5), definition: { ...DEFINITION, others: { mdev_type: 'x' } } },
      400,
      'EINVAL',
    ],
  ],
  redefine: [
    [`/v1/definitions/b/${uuid(4)}`, { ...DEFINITION, start: 'auto', others: { x: [1] } }, 200],
    [`/v1/definitions/%2e%2e/${uuid(4)}`, DEFINITION, 400, 'EINVAL'],
    ['/v1/definitions/b/x', DEFINITION, 400, 'EINVAL'],
    [`/v1/definitions/b/${uuid(4)}`, { type: 'x' }, 400, 'EINVAL'],
  ],
  undefine: [
    [`/v1/definitions/${uuid(6)}?parent=a`, undefined, 404, 'ENOENT'],
    [`/v1/definitions/${uuid(6)}?parents=b`, undefined, 400, 'EINVAL'],
    [`/v1/definitions/${uuid(6)}?parent=a&parent=b`, undefined, 400, 'EINVAL'],
    [`/v1/definitions/${uuid(6)}`, undefined, 204],
    [`/v1/definitions/${uuid(6)}`, undefined, 404, 'ENOENT'],
  ],
}

/** What is true before the requests of each route. */
async function prepare(api: Api): Promise<Client> {
  const { daemon } = api
  await daemon.host(DRIVER, 'a')
  const { machine } = daemon
  await machine.define({ parent: 'a', uuid: uuid(1) }, DEFINITION)
  await machine.define({ parent: 'a', uuid: uuid(2) }, DEFINITION)
  await machine.define({ parent: 'b', uuid: uuid(6) }, DEFINITION)
  await machine.start({ uuid: uuid(1) })
  const { socket = '' } = await machine.start({ parent: 'a', type: 'test-1', uuid: uuid(3) })
  return Client.attach(socket)
}

describe('ROUTES', () => {
  for (const route of ROUTES) {
    const { name, method, path } = route
    test(`${method} ${path} answers and refuses as it promises`, async () => {
      await using api = await Api.start()
      const guest = await prepare(api)
      for (const [target, body, status, code] of CASES[name] ?? assert.fail('no cases')) {
        const reply = await api.ask(method, target, body)
        const what = `${method} ${target} ${JSON.stringify(body)?.slice(0, 60)}`
        if (code === undefined) {
          assert.equal(reply.status, status, `${what}: ${JSON.stringify(reply.body)}`)
          if (status === 204) assert.equal(reply.body, '')
          else assertShape(route, reply.body)
        } else {
          assert.deepEqual(refusalIn(reply), [status, code], what)
        }
      }
      guest.detach()
    })
  }

  test('start answers 201 with what it made, under a fresh UUID if none is given; EIO is the driver’s own', async () => {
    await using api = await Api.start()
    await api.daemon.host(DRIVER, 'a')
    const reply = await api.ask('POST', '/v1/mdevs', { parent: 'a', type: 'test-1' })
    assert.equal(reply.status, 201)
    const start = ROUTES.find(({ name }) => name === 'start')
    assert.ok(start !== undefined)
    assertShape(start, reply.body)
    const broken = await api.ask('POST', '/v1/mdevs', { parent: 'a', type: 'test-2' })
    assert.deepEqual(refusalIn(broken), [500, 'EIO'])
    assert.match(JSON.stringify(broken.body), /the card is broken/)
    const unknown = { parent: 'a', type: 'test-1', attributes: [['size', '1']] }
    assert.deepEqual(refusalIn(await api.ask('POST', '/v1/mdevs', unknown)), [404, 'ENOENT'])
  })

  test('redefine keeps what it was given', async () => {
    await using api = await Api.start()
    const others = { note: { deep: [null, 1.5] } }
    const definition = {
      ...DEFINITION,
      attributes: [
        ['a', '1'],
        ['a', '2'],
      ],
      others,
    }
    const reply = await api.ask('PUT', `/v1/definitions/0000:00:05.0/${uuid(1)}`, definition)
    const defined = { parent: '0000:00:05.0', uuid: uuid(1), definition }
    assert.deepEqual([reply.status, reply.body], [200, defined])
    const list = await api.ask('GET', '/v1/mdevs')
    assert.deepEqual(list.body, { mdevs: [defined], faults: [] })
  })
})

function assertShape({ name, reply }: Route, body: unknown): void {
  assert.ok(reply !== undefined)
  assert.ok(Check(reply, body), `${name}: ${JSON.stringify(Errors(reply, body))}`)
}
