/** Exit codes and hints: each kind of refusal by a command that has it, and the same as mdevctl, which knows only 1. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Client } from '../../src/vfio-user/client.ts'
import { EXIT_CODES, exitCodeOf } from '../../src/cli/exit-codes.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { Api } from '../http/support.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { cli } from './cli.ts'
import { startParents } from './mdevctl-machine.ts'
import { refusalLine } from './refusal-line.ts'

const UUID = '00000001-0000-4000-8000-000000000001'
const OTHER = '00000002-0000-4000-8000-000000000002'

/** docs/cli.md, "Exit codes". */
const NOT_FOUND = 3
const EXISTS = 4
const NO_CAPACITY = 5
const BUSY = 6
const DENIED = 7
const UNREACHABLE = 8

async function asMdevctl(args: readonly string[], root: string) {
  using scratch = new Scratch()
  const link = join(scratch.path, 'mdevctl')
  symlinkSync(join(PROJECT, 'bin/mdevkit.js'), link)
  const env = { ...process.env, MDEVKIT_ROOT: root }
  return await new Promise<{ code: number; stderr: string }>((resolve) => {
    execFile(process.execPath, [link, ...args], { env }, (error, _stdout, stderr) =>
      resolve({ code: error === null ? 0 : Number(error.code), stderr }),
    )
  })
}

describe('exit codes', () => {
  test('tell refusals apart, and mdevctl by its name ends with 1 and says the same without a hint', async () => {
    await using api = await Api.start()
    const { daemon, client } = api
    const root = daemon.scratch.path
    await startParents(daemon, ['mdpy', 'mprobe-a'])
    const { socket } = await client.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
    const guest = await Client.attach(socket ?? '')
    for (const last of ['a', 'b'])
      await client.start({
        uuid: `0000000${last}-0000-4000-8000-000000000000`,
        parent: 'mprobe-a',
        type: 'mprobe-one',
      })
    const definition = { type: 'mdpy-vga', start: 'manual', attributes: [] } as const
    await client.define({ uuid: OTHER, parent: 'mdpy' }, definition)
    daemon.scratch.write('empty.json', '')
    const vga = ['-p', 'mdpy', '-t', 'mdpy-vga']
    const cases: readonly (readonly [readonly string[], number])[] = [
      [['stop', '-u', OTHER], NOT_FOUND],
      [['start', '-p', 'nothing', '-t', 'x'], NOT_FOUND],
      [['start', '-p', 'mdpy', '-t', 'mdpy-x'], NOT_FOUND],
      [['undefine', '-u', UUID], NOT_FOUND],
      [['modify', '-u', UUID, '--auto'], NOT_FOUND],
      [['modify', '-u', OTHER, '-p', 'mdpy', '--jsonfile', '/nowhere'], NOT_FOUND],
      [['start', '-u', UUID, ...vga], EXISTS],
      [['define', '-u', OTHER, ...vga], EXISTS],
      [['start', '-p', 'mprobe-a', '-t', 'mprobe-two'], NO_CAPACITY],
      [['define', '-p', '.x', '-t', 'y', '-u', UUID], 1],
      [['define', '-u', 'nonsense'], 2],
      [['list', '--nonsense'], 2],
      [['nonsense'], 2],
    ]
    for (const [args, code] of cases) {
      const ours = await cli(args, { root })
      assert.deepEqual([ours.code, ours.stdout], [code, ''], args.join(' '))
      const theirs = await asMdevctl(args, root)
      assert.equal(theirs.code, code === 2 ? 2 : 1, args.join(' '))
      const [said, told] = [refusalLine(ours.stderr), theirs.stderr]
      if (args[0] !== 'nonsense') assert.equal(said, told)
      else assert.equal(told, "error: unrecognized subcommand 'nonsense'\n")
    }
    const busy = await cli(['attach', UUID], { root })
    assert.match(refusalLine(busy.stderr), /^mdevkit attach: EBUSY: .*in use by pid \d+/)
    assert.equal(busy.code, BUSY)
    guest.detach()
  })

  test('say that access is denied', async () => {
    await using api = await Api.start({ rule: { accessOf: () => 'read' } })
    const { daemon } = api
    await startParents(daemon, ['mdpy'])
    const root = daemon.scratch.path
    const { code, stderr } = await cli(['start', '-p', 'mdpy', '-t', 'mdpy-vga'], { root })
    assert.match(refusalLine(stderr), /needs admin access/)
    assert.equal(code, DENIED)
    assert.equal((await cli(['list'], { root })).code, 0)
  })

  test('say that nobody answers: no daemon, or something else in its place', async () => {
    using scratch = new Scratch()
    const root = scratch.path
    assert.equal((await cli(['list'], { root })).code, UNREACHABLE)
    const server = createServer((socket) => socket.end('SSH-2.0\r\n'))
    server.listen(join(root, 'api.sock'))
    await once(server, 'listening')
    try {
      const { code, stderr } = await cli(['list'], { root })
      assert.match(refusalLine(stderr), /^Error: EPROTO: .*what answers there is no mdevkit daemon/)
      assert.equal(code, UNREACHABLE)
    } finally {
      server.close()
    }
  })
})

describe('--root', () => {
  test('stands for MDEVKIT_ROOT in every command, before it and behind it', async () => {
    await using api = await Api.start()
    const root = api.daemon.scratch.path
    await startParents(api.daemon, ['mdpy'])
    const elsewhere = { root: '/nowhere' }
    for (const args of [
      ['--root', root, 'types', '-o', 'name'],
      ['types', '-o', 'name', '--root', root],
      ['types', `--root=${root}`, '-o', 'name'],
      ['--root', '/nowhere/else', 'types', '-o', 'name', '--root', root],
    ]) {
      const { code, stdout, stderr } = await cli(args, elsewhere)
      assert.deepEqual([code, stdout, stderr], [0, 'mdpy-vga\n', ''])
    }
    const nodes = await cli(['nodedev', 'list', '--root', root], elsewhere)
    assert.equal(nodes.code, 0)
    for (const command of ['status', 'events', 'doctor', 'run', 'host', 'daemon', 'lspci'])
      assert.match((await cli([command, '--help'], elsewhere)).stdout, /--root <dir>/)
  })

  test('has to be a directory’s name, and is none of mdevctl’s options', async () => {
    const empty = await cli(['list', '--root', ''], { root: '/nowhere' })
    assert.equal(empty.code, 2)
    const { code, stderr } = await asMdevctl(['list', '--root', '/x'], '/nowhere')
    assert.deepEqual([code, stderr], [2, "error: unexpected argument '--root' found\n"])
  })
})

test('exitCodeOf() knows each errno once, and 1 for all others', () => {
  const known = EXIT_CODES.flatMap(({ errnos }) => errnos)
  assert.equal(new Set(known).size, known.length)
  for (const { code, errnos } of EXIT_CODES)
    for (const errno of errnos) assert.equal(exitCodeOf(new ErrnoError(errno, 'x')), code)
  for (const error of [new ErrnoError('EINVAL', 'x'), new Error('bug'), 'a fit', undefined])
    assert.equal(exitCodeOf(error), 1)
})
