/** `mdevkit events`: what there is, what happens, and a daemon that comes back. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { describe, test } from 'node:test'
import { ApiServer } from '../../src/http/server.ts'
import type { MachineEvent, SnapshotEvent } from '../../src/http/events.ts'
import { silentLogger } from '../../src/lib/log.ts'
import { listenUnix } from '../../src/os/unix-socket.ts'
import { ANYBODY, Api } from '../http/support.ts'
import { Mdevkit, PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { cli } from './cli.ts'
import { startParents } from './mdevctl-machine.ts'
import { refusalLine } from './refusal-line.ts'

const UUID = '00000001-0000-4000-8000-000000000001'

async function machine(): Promise<Api> {
  const api = await Api.start()
  await startParents(api.daemon, ['mdpy'])
  return api
}

function parsed(text: string): readonly (SnapshotEvent | MachineEvent)[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as SnapshotEvent | MachineEvent)
}

describe('events', () => {
  test('prints what there is, and ends', async () => {
    await using api = await machine()
    const root = api.daemon.scratch.path
    const asText = await cli(['events'], { root })
    assert.match(
      asText.stdout,
      /^snapshot {2}parents: 1, mdevs: 0\nparent {4}mdpy {2}mdpy, pid \d+\n$/,
    )
    const asJson = await cli(['events', '-o', 'json'], { root })
    const [snapshot, ...more] = parsed(asJson.stdout)
    assert.ok(snapshot?.action === 'snapshot')
    assert.deepEqual(snapshot.parents, await api.client.parents())
    assert.deepEqual([more, asJson.code, asJson.stderr], [[], 0, ''])
  })

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    test(`--follow prints what happens, and ends with 0 on ${signal}`, async () => {
      await using api = await machine()
      await using following = await Mdevkit.start(['events', '--follow', '-o', 'json'], {
        root: api.daemon.scratch.path,
      })
      await following.stdout.waitFor(/^.*\n/)
      await api.client.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
      await api.client.stop(UUID)
      await following.stdout.waitFor(/"action":"remove".*\n/)
      const { code, stdout, stderr } = await following.stop(signal)
      assert.deepEqual([code, stderr], [0, ''])
      const [, ...happened] = parsed(stdout)
      assert.deepEqual(
        happened.map(({ action }) => action),
        ['add', 'bind', 'unbind', 'remove'],
      )
      const path = `/devices/virtual/mdpy/mdpy/${UUID}`
      for (const event of happened) assert.equal('DEVPATH' in event && event.DEVPATH, path)
    })
  }

  test('--follow waits for a daemon that restarts, and says so', async () => {
    await using api = await machine()
    const { daemon, events, socketPath } = api
    await using following = await Mdevkit.start(['events', '-f'], { root: daemon.scratch.path })
    await following.stdout.waitFor(/^snapshot .*\n/)
    await api.server.close()
    await following.stderr.waitFor(/^mdevkit events: .*; waiting for it to come back\n$/)
    rmSync(socketPath, { force: true })
    const next = await ApiServer.create({
      plane: daemon.machine,
      events,
      log: silentLogger,
      version: '2.0.0',
    })
    try {
      await next.listen({ fd: listenUnix(socketPath, 0o600) }, ANYBODY)
      await following.stdout.waitFor(/^snapshot .*\n/m)
      await api.client.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
      await following.stdout.waitFor(new RegExp(`^add {7}mdpy/${UUID} {2}mdpy-vga, .*\n`, 'm'))
      assert.equal((await following.stop('SIGINT')).code, 0)
    } finally {
      await next.close()
    }
  })

  test('--follow does not wait for a daemon that was never there', async () => {
    using scratch = new Scratch()
    const { code, stdout, stderr } = await cli(['events', '--follow'], { root: scratch.path })
    assert.match(refusalLine(stderr), /^mdevkit events: ENOENT: .*no daemon answers.*\n$/)
    assert.deepEqual([code, stdout], [8, ''])
  })
})

describe('standard output', () => {
  /** What a shell says of a pipeline, of `mdevkit` itself above all. */
  function shell(line: string, root: string) {
    const env = { ...process.env, MDEVKIT_ROOT: root, MDEVKIT: `${PROJECT}bin/mdevkit.js` }
    return spawnSync('bash', ['-c', line], { env, encoding: 'utf8' })
  }

  test('may be closed by who reads it: no command minds', () => {
    using scratch = new Scratch()
    for (const command of ['--help', 'completion bash', 'doctor']) {
      const line = `node "$MDEVKIT" ${command} | true; echo "\${PIPESTATUS[0]}"`
      const { stdout, stderr } = shell(line, scratch.path)
      assert.deepEqual([stdout, stderr], ['0\n', ''], command)
    }
  })

  test('ends events --follow when nobody reads it', async () => {
    await using api = await machine()
    const following = Mdevkit.start(['events', '-f'], { root: api.daemon.scratch.path })
    await using mdevkit = await following
    await mdevkit.stdout.waitFor(/^snapshot .*\n/)
    mdevkit.closeStdout()
    await api.client.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
    const { code, stderr } = await mdevkit.ended
    assert.deepEqual([code, stderr], [0, ''])
  })

  test('has colours on a terminal, and none where NO_COLOR is set', () => {
    using scratch = new Scratch()
    const onTerminal = (environment: string) =>
      shell(
        `${environment} TERM=xterm script -qec 'node "$MDEVKIT" doctor' /dev/null </dev/null`,
        scratch.path,
      ).stdout
    assert.ok(onTerminal('NO_COLOR=').includes('\u001b[32mok\u001b[39m'))
    const plain = onTerminal('NO_COLOR=1')
    assert.match(plain, /node +ok /)
    assert.ok(!plain.includes('\u001b['))
  })

  test('that is full is a failure', () => {
    using scratch = new Scratch()
    const { status, stderr } = shell('node "$MDEVKIT" --help > /dev/full', scratch.path)
    assert.equal(stderr, 'mdevkit: standard output: ENOSPC: no space left on device, write\n')
    assert.equal(status, 5)
  })
})
