/** Owners and quotas over the API: who made what is kept by its host and its file, and what is another's stays. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Command } from 'commander'
import { addNodedev } from '../../src/cli/nodedev-verbs.ts'
import { parseConfig } from '../../src/daemon/config.ts'
import { definitionsDirectory } from '../../src/daemon/daemon.ts'
import { ApiClient, apiSocket } from '../../src/http/client.ts'
import type { ControlPlane } from '../../src/mdev/control-plane.ts'
import { choice } from '../../src/mdev/attribute.ts'
import { formatDefinition } from '../../src/mdev/definition.ts'
import { userName } from '../../src/os/user-name.ts'
import { driverOf, uuid } from '../mdev/support.ts'
import { Bench } from './bench.ts'

const MANUAL = { type: 'test-1', start: 'manual', attributes: [] } as const
const US = userName(process.geteuid?.() ?? 0)

function clientOf(bench: Bench, owner: string): ApiClient {
  return new ApiClient(apiSocket(bench.root), { owner })
}

async function nodedev(plane: ControlPlane, words: readonly string[]): Promise<void> {
  const program = new Command('mdevkit').exitOverride()
  addNodedev(program, { plane, sysfs: '/sys' }, () => {})
  await program.parseAsync(['nodedev', ...words], { from: 'user' })
}

async function found(bench: Bench): Promise<void> {
  for await (const event of bench.client.events()) {
    if (event.action === 'snapshot' ? event.parents.length > 0 : 'view' in event) return
  }
}

describe('owners', () => {
  test('what a tool has made is its own, through the end of the daemon', async () => {
    await using bench = new Bench()
    const first = await bench.daemon()
    bench.host('a')
    await found(bench)
    const libvirt = clientOf(bench, 'libvirt')
    const owner = { user: US, tool: 'libvirt' }
    const made = await libvirt.start({ parent: 'a', type: 'test-1', uuid: uuid(1) })
    assert.deepEqual(made.owner, owner)
    await first.close()
    await bench.daemon()
    const { mdevs } = await bench.client.list()
    assert.deepEqual(mdevs[0]?.active?.owner, owner)
    const refused = {
      code: 'EPERM',
      message: `mdev ${uuid(1)}: made by libvirt; --force to take it anyway`,
    }
    await assert.rejects(bench.client.stop(uuid(1)), refused)
    await assert.rejects(bench.client.stop(uuid(1), { force: true }), refused) // of its client alone
    await assert.rejects(bench.client.change(uuid(1), []), refused)
    await libvirt.stop(uuid(1))
    await libvirt.start({ parent: 'a', type: 'test-1', uuid: uuid(1) })
    await bench.client.stop(uuid(1), { takeOver: true })
    assert.deepEqual((await bench.client.list()).mdevs, [])
  })

  test('what is defined by another is not written over nor undefined, and its owner stays', async () => {
    await using bench = new Bench()
    await bench.daemon()
    const libvirt = clientOf(bench, 'libvirt')
    const key = { parent: 'a', uuid: uuid(1) }
    await libvirt.define(key, MANUAL)
    const auto = { ...MANUAL, start: 'auto' } as const
    for (const ask of [
      async (plane: ControlPlane) => plane.define(key, auto, { replace: true }),
      async (plane: ControlPlane) => plane.undefine(uuid(1)),
    ])
      await assert.rejects(ask(bench.client), { code: 'EPERM', message: /made by libvirt;/ })
    await bench.client.define(key, auto, { replace: true, takeOver: true })
    const others = { mdevkit: { owner: { user: US, tool: 'libvirt' } } }
    assert.deepEqual(bench.store.read(key), { ...auto, others })
    await libvirt.undefine(uuid(1))
    assert.deepEqual((await bench.client.list()).mdevs, [])
  })

  test('nobody can claim to be another by what they write into a definition', async () => {
    await using bench = new Bench()
    await bench.daemon()
    const key = { parent: 'a', uuid: uuid(1) }
    const others = { note: 1, mdevkit: { owner: { user: 'x', tool: 'y' }, more: 2 } }
    await bench.client.define(key, { ...MANUAL, others })
    assert.deepEqual(bench.store.read(key).others, { note: 1, mdevkit: { more: 2 } })
  })

  test("the daemon's own user leaves files as mdevctl writes them, and owns those of mdevctl", async () => {
    await using bench = new Bench()
    await bench.daemon()
    await bench.client.define({ parent: 'a', uuid: uuid(1) }, MANUAL)
    const file = join(definitionsDirectory(bench.root), 'a', uuid(1))
    assert.equal(readFileSync(file, 'utf8'), formatDefinition(MANUAL))
    await assert.rejects(clientOf(bench, 'libvirt').undefine(uuid(1)), {
      code: 'EPERM',
      message: new RegExp(`made by ${US};`),
    })
    await bench.client.undefine(uuid(1))
  })

  test("what autostart made is its definition's owner's", async () => {
    await using bench = new Bench()
    const owner = { user: 'alice', tool: 'virt-tool' }
    const auto = { ...MANUAL, start: 'auto', others: { mdevkit: { owner } } } as const
    bench.store.write({ parent: 'a', uuid: uuid(1) }, auto)
    bench.store.write({ parent: 'a', uuid: uuid(2) }, { ...MANUAL, start: 'auto' })
    await bench.daemon()
    const events = bench.client.events()
    await events.next()
    bench.host('a')
    let bound = 0
    for await (const { action } of events) if (action === 'bind' && ++bound === 2) break
    const { mdevs } = await bench.client.list()
    assert.deepEqual(
      mdevs.map(({ active }) => active?.owner),
      [owner, { user: US, tool: US }],
    )
    await assert.rejects(bench.client.stop(uuid(1)), { message: /made by virt-tool of alice;/ })
  })

  test('settings of a parent are those of every mdev on it: EPERM while one is of another', async () => {
    await using bench = new Bench()
    await bench.daemon()
    const pace = choice(['slow', 'fast'], { default: 'slow', description: '', change: 'live' })
    const driver = driverOf({ parentAttributes: { pace }, changeParentAttributes: () => {} })
    const { parent } = bench.host('a', driver)
    await found(bench)
    const [libvirt, other] = [clientOf(bench, 'libvirt'), clientOf(bench, 'other')]
    const to = (word: string) => [['pace', word]] as const
    await other.changeParent('a', to('fast')) // nobody has an mdev there
    await parent.create('test-1', uuid(2)) // past the daemon: nobody's
    await libvirt.start({ parent: 'a', type: 'test-1', uuid: uuid(1) })
    await assert.rejects(other.changeParent('a', to('slow')), {
      code: 'EPERM',
      message: `parent a: mdev ${uuid(1)}: made by libvirt; --force to take it anyway`,
    })
    assert.deepEqual(parent.values, { pace: 'fast' })
    await libvirt.changeParent('a', to('slow'))
    await other.changeParent('a', to('fast'), { takeOver: true })
    assert.deepEqual(parent.values, { pace: 'fast' })
    await assert.rejects(other.changeParent('b', to('fast')), { code: 'ENOENT' })
  })

  test("`nodedev` leaves what is another's alone too, without --force", async () => {
    await using bench = new Bench()
    await bench.daemon()
    bench.host('a')
    await found(bench)
    const libvirt = clientOf(bench, 'libvirt')
    await libvirt.define({ parent: 'a', uuid: uuid(1) }, MANUAL)
    await libvirt.start({ uuid: uuid(1) })
    const name = `mdev_${uuid(1).replaceAll('-', '_')}_a`
    const capability = `<capability type="mdev"><type id="test-1"/><uuid>${uuid(1)}</uuid></capability>`
    const xml = bench.scratch.write(
      'x.xml',
      `<device><parent>test_a</parent>${capability}</device>`,
    )
    for (const words of [
      ['destroy', name],
      ['autostart', name],
      ['define', xml],
      ['undefine', name],
    ]) {
      const before = await bench.client.list()
      await assert.rejects(nodedev(bench.client, words), {
        code: 'EPERM',
        message: /made by libvirt; --force/,
      })
      assert.deepEqual(await bench.client.list(), before)
      await nodedev(bench.client, [...words, '--force'])
    }
    assert.deepEqual((await bench.client.list()).mdevs, [])
  })

  test('a name that is none is EINVAL', async () => {
    await using bench = new Bench()
    await bench.daemon()
    for (const owner of ['a b', '-x', 'x'.repeat(65)])
      await assert.rejects(clientOf(bench, owner).undefine(uuid(1)), { code: 'EINVAL' })
  })
})

test('quotas are EDQUOT: of a parent, of a tool and of a user, however many ask at once', async () => {
  await using bench = new Bench()
  const text = `
    [parents.a]
    driver = "./none.js"
    max-mdevs = 3
    [owners.greedy]
    max-mdevs = 1
    [owners."${US}"]
    max-mdevs = 5
  `
  const { quotas } = parseConfig(text, '/x/y.toml')
  await bench.daemon({ ...parseConfig('', '/x'), quotas })
  bench.host('a')
  bench.host('b')
  for await (const event of bench.client.events()) {
    if (event.action === 'snapshot' && event.parents.length === 2) break
    if ('view' in event && (await bench.client.parents()).length === 2) break
  }
  const start = async (client: ApiClient, parent: string, number: number) =>
    client.start({ parent, type: 'test-1', uuid: uuid(number) }).then(
      () => 'started',
      ({ code, message }: Error & { code: string }) => `${code} ${message.split(',')[0]}`,
    )
  const greedy = clientOf(bench, 'greedy')
  assert.deepEqual((await Promise.all([start(greedy, 'a', 1), start(greedy, 'b', 2)])).toSorted(), [
    'EDQUOT owner greedy: may have 1 mdev',
    'started',
  ])
  const [first] = (await bench.client.list()).mdevs
  const others = [3, 4, 5, 6].map(async (number) => start(bench.client, 'a', number))
  const left = first?.parent === 'a' ? 2 : 3
  assert.deepEqual((await Promise.all(others)).toSorted(), [
    ...Array<string>(4 - left).fill('EDQUOT parent a: may have 3 mdevs'),
    ...Array<string>(left).fill('started'),
  ])
  for (let number = 7; number < 7 + 5 - 1 - left; number++)
    assert.equal(await start(bench.client, 'b', number), 'started')
  assert.equal(await start(bench.client, 'b', 20), `EDQUOT owner ${US}: may have 5 mdevs`)
  const mdev = (await bench.client.list()).mdevs.find((each) => each.parent === 'b')
  await bench.client.stop(mdev?.uuid ?? '', { takeOver: true })
  assert.equal(await start(bench.client, 'b', 20), 'started')
})
