/** `mdevkit host`: a parent in a process of its own, managed from outside, and what is left of it when it ends. */
import assert from 'node:assert/strict'
import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ControlClient } from '../../src/host/control-client.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { Mdevkit, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

/** Starts a host, and connects to its control socket. */
async function managed(root: string, ...args: string[]) {
  const host = await Mdevkit.start(['host', ...args], { root })
  const [line] = await host.stdout.waitFor(/^.*\n/)
  const report = JSON.parse(line) as { parent: string; control: string }
  return { host, report, client: await ControlClient.connect(report.control) }
}

test('host bears mdevs that a client of its control socket creates, and vfio-user clients use', async () => {
  using scratch = new Scratch()
  const { report, client, ...started } = await managed(scratch.path, 'mtty', '--name', 'serial')
  await using host = started.host
  assert.deepEqual(report, {
    parent: 'serial',
    control: join(scratch.path, 'hosts', 'serial.sock'),
  })
  assert.equal(client.pid, host.pid)
  const mdev = await client.create('mtty-2', UUID, [['ports', 'loopback']])
  assert.ok(mdev.socket !== undefined)
  const guest = await Client.attach(mdev.socket)
  assert.equal(await guest.readRegister(7, 0, 4), 0x3253_4348) // config space begins with device and vendor
  await assert.rejects(client.remove(UUID), { code: 'EBUSY', message: /in use by pid/ })
  guest.detach()
  await client.remove(UUID, { wait: true })
  await client.unregister()
  const { code, stderr } = await host.ended
  assert.deepEqual([code, /warn|error/.test(stderr)], [0, false])
  assert.ok(!existsSync(report.control))
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`host ends with 0 on ${signal} and takes its mdevs with it`, async () => {
    using scratch = new Scratch()
    const { host, report, client } = await managed(scratch.path, 'mtty')
    await using killed = host
    const { socket } = await client.create('mtty-1', UUID, [['ports', 'loopback']])
    process.kill(killed.pid, signal)
    assert.equal((await host.ended).code, 0)
    assert.deepEqual([existsSync(report.control), existsSync(socket ?? '')], [false, false])
  })
}

test('host takes over from one that was killed', async () => {
  using scratch = new Scratch()
  const first = await managed(scratch.path, 'mtty')
  {
    await using killed = first.host
    await first.client.create('mtty-1', UUID, [['ports', 'loopback']])
    process.kill(killed.pid, 'SIGKILL')
    await killed.ended
  }
  const second = await managed(scratch.path, 'mtty')
  await using host = second.host
  assert.equal(second.client.pid, host.pid)
  assert.deepEqual(second.report, first.report)
  assert.deepEqual(second.client.parent.mdevs, [])
  await second.client.create('mtty-1', UUID, [['ports', 'loopback']])
  second.client.close()
})

test('host refuses what is no driver, in one line', async () => {
  using scratch = new Scratch()
  await using host = await Mdevkit.start(['host', 'nonsense'], { root: scratch.path })
  const { code, stderr } = await host.ended
  assert.equal(code, 3)
  assert.match(stderr, /^mdevkit host: ENOENT: .*nonsense.*\n$/)
})

/** A driver that has to open an image, as its parent's settings name it. */
const SHARING = `import { defineDriver, ErrnoError, text } from 'mdevkit'
export const disk = defineDriver({
  name: 'disk',
  types: { 1: {} },
  parentAttributes: { image: text({ required: true, description: 'what is shared' }) },
  async open(parent) {
    if (parent.attributes.image === 'none') throw new ErrnoError('ENOENT', 'image none: not there')
    return { image: parent.attributes.image }
  },
  async close(shared) {
    await new Promise((resolve) => setTimeout(resolve, 10))
    process.stderr.write('closed ' + shared.image + '\\n')
  },
  parentStatus: (shared) => ({ open: shared.image }),
  probe(mdev) {
    mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    return { reset() {} }
  },
})
`

test('host gives its parent the settings, and lets the driver close what it opened before it ends', async () => {
  using scratch = new Scratch()
  const module = join(scratch.path, 'disk.ts')
  writeFileSync(module, SHARING)
  const { host, client } = await managed(scratch.path, module, '--set', 'image=a=b')
  await using ending = host
  const { settings, values, status } = client.parent
  assert.deepEqual(
    [settings, values, status],
    [[['image', 'a=b']], { image: 'a=b' }, { open: 'a=b' }],
  )
  await client.unregister()
  assert.deepEqual(await ending.ended.then(({ code, stderr }) => [code, stderr]), [
    0,
    'closed a=b\n',
  ])
})

for (const [title, args, last] of [
  ['open fails', ['--set', 'image=none'], 'ENOENT: image none: not there'],
  ['lacks a setting', [], 'EINVAL: attribute image: required, and not given: text'],
  ['has a setting too many', ['--set', 'image=x', '--set', 'size=1'], /^ENOENT: attribute size: /],
] as const) {
  test(`host of a driver whose parent's ${title} ends, and its last line says why`, async () => {
    using scratch = new Scratch()
    const module = join(scratch.path, 'disk.ts')
    writeFileSync(module, SHARING)
    await using host = await Mdevkit.start(['host', module, ...args], { root: scratch.path })
    const { code, stderr } = await host.ended
    assert.notEqual(code, 0)
    const why = /^mdevkit host: (.*)$/m.exec(stderr)?.[1] ?? stderr
    if (typeof last === 'string') assert.equal(why, last)
    else assert.match(why, last)
    assert.deepEqual(existsSync(join(scratch.path, 'hosts', 'disk.lock')), false)
  })
}

test('run takes settings of the parent by --parent-set, and of the mdev by --set', async () => {
  using scratch = new Scratch()
  const module = join(scratch.path, 'disk.ts')
  writeFileSync(module, SHARING)
  await using serving = await serve([module, '--parent-set', 'image=x'], { root: scratch.path })
  assert.equal(serving.report.type, 'disk-1')
  const { code, stderr } = await serving.host.stop('SIGINT')
  assert.deepEqual([code, stderr], [0, 'closed x\n'])
})
