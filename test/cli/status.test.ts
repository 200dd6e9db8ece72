/** `mdevkit status`: with a daemon as its API has it, and without one from the hosts. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdirSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { dirname } from 'node:path'
import { describe, test } from 'node:test'
import { parse } from 'yaml'
import { foregroundMdevs } from '../../src/host/foreground-mdevs.ts'
import { apiSocket } from '../../src/http/client.ts'
import { Api } from '../http/support.ts'
import { serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { cli } from './cli.ts'
import { machineWith, startParents } from './mdevctl-machine.ts'
import { refusalLine } from './refusal-line.ts'

const UUID = '00000001-0000-4000-8000-000000000001'
const OTHER = '00000002-0000-4000-8000-000000000002'

/** What answers with these bytes, or not at all, where the daemon's API should be. */
async function impostor(root: string, says: string | undefined) {
  mkdirSync(dirname(apiSocket(root)), { recursive: true })
  const sockets = new Set<Socket>()
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}))
    if (says !== undefined) socket.end(says)
  }).listen(apiSocket(root))
  await once(server, 'listening')
  return {
    /** How often somebody has come. */
    get asked(): number {
      return sockets.size
    },
    [Symbol.dispose]() {
      for (const socket of sockets) socket.destroy()
      server.close()
    },
  }
}

describe('status', () => {
  test('shows what the API has, in every format', async () => {
    await using api = await Api.start()
    const { daemon, client } = api
    const root = daemon.scratch.path
    await startParents(daemon, ['mdpy', 'mtty'])
    await client.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
    await client.define(
      { uuid: OTHER, parent: 'mtty' },
      { type: 'mtty-2', start: 'auto', attributes: [] },
    )
    const expected = {
      daemon: await client.health(),
      parents: await client.parents(),
      ...(await client.list()),
      foreground: [],
    }
    const told = async (...args: readonly string[]) => {
      const { code, stdout, stderr } = await cli(['status', ...args], { root })
      assert.deepEqual([code, stderr], [0, ''])
      return stdout
    }
    assert.deepEqual(JSON.parse(await told('-o', 'json')), expected)
    assert.deepEqual(parse(await told('--output=yaml')), expected)
    assert.equal(
      await told('-o', 'name'),
      `parent/mdpy\nparent/mtty\nmdev/mdpy/${UUID}\nmdev/mtty/${OTHER}\n`,
    )
    const table = await told()
    assert.match(
      table,
      new RegExp(`^daemon {2}1\\.2\\.3, pid ${process.pid}, ${apiSocket(root)}$`, 'm'),
    )
    assert.match(
      table,
      new RegExp(`^${UUID} {2}mdpy +mdpy-vga +- +active +\\d+ +- +/.*/cntrl$`, 'm'),
    )
    assert.match(table, new RegExp(`^${OTHER} {2}mtty +mtty-2 +auto +defined +- +- +-$`, 'm'))
  })

  test('asks the hosts where no daemon is, and says so', async () => {
    using daemon = await machineWith(['mdpy'])
    await daemon.machine.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
    const { code, stdout, stderr } = await cli(['status', '-o', 'json'], { root: daemon.root })
    assert.equal(code, 0)
    assert.match(stderr, /^mdevkit status: .*no daemon answers.*hosts were asked instead.*\n$/)
    const { daemon: none, parents, mdevs } = JSON.parse(stdout) as Record<string, unknown>
    assert.equal(none, null)
    assert.deepEqual(parents, await daemon.machine.parents())
    assert.deepEqual(mdevs, (await daemon.machine.list()).mdevs)
  })

  test('asks the hosts where what answers is no daemon', async () => {
    using daemon = await machineWith(['mdpy'])
    for (const says of ['SSH-2.0-OpenSSH_9.2\r\n', 'HTTP/1.1 200 OK\r\n\r\n<html>']) {
      using other = await impostor(daemon.root, says)
      const { code, stdout, stderr } = await cli(['status', '-o', 'name'], { root: daemon.root })
      assert.match(stderr, /what answers there is no mdevkit daemon; hosts were asked/)
      assert.deepEqual([code, stdout, other.asked > 0], [0, 'parent/mdpy\n', true])
    }
  })

  test('asks the hosts where the daemon hangs', async () => {
    using daemon = await machineWith(['mdpy'])
    using other = await impostor(daemon.root, undefined)
    const { code, stdout, stderr } = await cli(['status', '-o', 'name'], { root: daemon.root })
    assert.match(stderr, /the daemon has not answered in \d+ s; hosts were asked/)
    assert.deepEqual([code, stdout, other.asked > 0], [0, 'parent/mdpy\n', true])
  })

  test('shows what is run in the foreground, with and without a daemon, until it is killed', async () => {
    await using api = await Api.start()
    const root = api.daemon.scratch.path
    await startParents(api.daemon, ['mdpy'])
    await api.client.start({ uuid: OTHER, parent: 'mdpy', type: 'mdpy-vga' })
    const args = ['mtty', '--type', 'mtty-1', '--uuid', UUID, '--set', 'ports=loopback']
    await using run = await serve(args, { root })
    const { pid } = run.host
    const { socket } = run.report
    assert.deepEqual(foregroundMdevs(root), [{ uuid: UUID, parent: 'mtty', pid, socket }])
    const told = async (format: string) => cli(['status', '-o', format], { root })
    assert.equal(
      (await told('name')).stdout,
      `parent/mdpy\nmdev/mdpy/${OTHER}\nmdev/mtty/${UUID}\n`,
    )
    assert.match(
      (await told('table')).stdout,
      new RegExp(`^${UUID}  mtty +${pid} +${socket}$`, 'm'),
    )
    const attach = await cli(['attach', UUID], { root })
    assert.match(refusalLine(attach.stderr), new RegExp(`EOPNOTSUPP: .*foreground by pid ${pid},`))
    await run.host.stop('SIGKILL') // its files stay
    assert.equal(existsSync(socket), true)
    assert.deepEqual(foregroundMdevs(root), [])
  })

  test('needs neither daemon nor host to show what is run in the foreground', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    await using run = await serve(['mtty', '--set', 'ports=loopback'], { root })
    const { code, stdout } = await cli(['status', '-o', 'json'], { root })
    const { parents, mdevs, foreground } = JSON.parse(stdout) as Record<string, unknown>
    const { uuid, parent, socket } = run.report
    assert.deepEqual([code, parents, mdevs], [0, [], []])
    assert.deepEqual(foreground, [{ uuid, parent, pid: run.host.pid, socket }])
  })

  test('ends with 8 where there is nothing at all', async () => {
    using scratch = new Scratch()
    const { code, stdout, stderr } = await cli(['status'], { root: scratch.path })
    assert.match(refusalLine(stderr), /^mdevkit status: ENOENT: .*no daemon answers.*\n$/)
    assert.deepEqual([code, stdout], [8, ''])
  })
})

describe('-o of list and types', () => {
  test('leaves the text of mdevctl alone, and prints what the API has if asked to', async () => {
    await using api = await Api.start()
    const { daemon, client } = api
    const root = daemon.scratch.path
    await startParents(daemon, ['mdpy', 'mtty'])
    await client.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
    const definition = { type: 'mtty-2', start: 'auto', attributes: [['a', 'b']] } as const
    await client.define({ uuid: OTHER, parent: 'mtty' }, definition)
    const told = async (...args: readonly string[]) => (await cli(args, { root })).stdout
    const { mdevs, faults } = await client.list()
    assert.equal(await told('list'), `${UUID} mdpy mdpy-vga manual\n`)
    assert.equal(await told('list', '-o', 'name'), `${UUID}\n`)
    assert.equal(await told('list', '-do', 'name'), `${OTHER}\n`)
    assert.deepEqual(JSON.parse(await told('list', '-o', 'json')), { mdevs: [mdevs[0]], faults })
    assert.deepEqual(parse(await told('list', '-d', '-o', 'yaml')), { mdevs: [mdevs[1]], faults })
    assert.match(await told('list', '-o', 'table'), new RegExp(`^UUID .*\n${UUID} .*\n$`))
    assert.equal(await told('types', '-o', 'name', '-p', 'mtty'), 'mtty-1\nmtty-2\n')
    assert.deepEqual(JSON.parse(await told('types', '-o', 'json')), await client.parents())
  })

  test('refuses what is no format, and two formats at a time', async () => {
    using scratch = new Scratch()
    for (const [args, says] of [
      [
        ['list', '-o', 'xml'],
        /^mdevkit: option '-o, --output <format>' .*Allowed choices are table, /,
      ],
      [
        ['types', '-o', 'json', '--dumpjson'],
        /^error: the argument '--output <format>' cannot be used with '--dumpjson'\n$/,
      ],
    ] as const) {
      const { code, stdout, stderr } = await cli(args, { root: scratch.path })
      assert.match(refusalLine(stderr), says)
      assert.deepEqual([code, stdout], [2, ''])
    }
  })
})
