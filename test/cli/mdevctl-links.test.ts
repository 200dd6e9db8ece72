/** `bin/mdevkit.js` as a process, through links named as mdevctl's programs; an alias does the same. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { symlinkSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { Api } from '../http/support.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { startParents } from './mdevctl-machine.ts'
import type { Played } from './mdevctl-player.ts'

const UUID = '00000001-0000-4000-8000-000000000001'

/** @param root the run-time root; the link is made there */
async function run(name: 'mdevctl' | 'lsmdev', args: readonly string[], root: string) {
  const link = join(root, name)
  symlinkSync(join(PROJECT, 'bin/mdevkit.js'), link)
  try {
    return await played(link, args, root)
  } finally {
    unlinkSync(link)
  }
}

function played(program: string, args: readonly string[], root: string): Promise<Played> {
  const env = { ...process.env, MDEVKIT_ROOT: root }
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { env }, (error, stdout, stderr) =>
      resolve({ stdout, stderr, code: error === null ? 0 : Number(error.code) }),
    )
  })
}

describe('mdevkit as mdevctl', () => {
  test('asks the daemon, prints data to standard output alone, and ends with 0 or 1', async () => {
    await using api = await Api.start()
    const { daemon } = api
    await startParents(daemon, ['mtty'])
    const root = daemon.scratch.path
    const device = `${UUID} mtty mtty-1 manual`
    for (const [name, args, expected] of [
      ['mdevctl', ['start', '-u', UUID, '-p', 'mtty', '-t', 'mtty-1'], { stdout: '', code: 0 }],
      ['mdevctl', ['define', '--uuid', UUID], { stdout: '', code: 0 }],
      ['mdevctl', ['list'], { stdout: `${device} (defined)\n`, code: 0 }],
      ['lsmdev', ['-d'], { stdout: `${device} (active)\n`, code: 0 }],
      ['mdevctl', ['list', '--dumpjson', '-p', 'nosuch'], { stdout: '[]', code: 0 }],
      ['mdevctl', ['stop', '-u', UUID], { stdout: '', code: 0 }],
    ] as const) {
      assert.deepEqual(await run(name, args, root), { stderr: '', ...expected })
    }
    const stderr = `Error: Device ${UUID} is not an active mdev\n`
    assert.deepEqual(await run('mdevctl', ['stop', '-u', UUID], root), {
      stdout: '',
      stderr,
      code: 1,
    })
  })

  test('refuses with one line that says how to start the daemon where none is', async () => {
    using scratch = new Scratch()
    const { stdout, stderr, code } = await run('mdevctl', ['list'], scratch.path)
    assert.match(stderr, /^Error: ENOENT: .*mdevkit daemon\n$/)
    assert.deepEqual([stdout, code], ['', 1])
  })

  /** The transcript has these (8.1, 8.2, 8.3). */
  const USAGE: readonly (readonly [readonly string[], string])[] = [
    [['frobnicate'], "unrecognized subcommand 'frobnicate'"],
    [['start-parent-mdevs'], 'the following required arguments were not provided: <PARENT>'],
    [['types', 'mtty'], "unexpected argument 'mtty' found"],
  ]
  for (const [args, fault] of USAGE) {
    test(`refuses ${args.join(' ')}: ${fault}`, async () => {
      using scratch = new Scratch()
      const expected = { stdout: '', stderr: `error: ${fault}\n`, code: 2 }
      assert.deepEqual(await run('mdevctl', args, scratch.path), expected)
    })
  }

  test('shows how it is used without a command, with exit code 2', async () => {
    using scratch = new Scratch()
    const { stdout, stderr, code } = await run('mdevctl', [], scratch.path)
    assert.match(stderr, /^Usage: .*\n/)
    assert.deepEqual([stdout, code], ['', 2])
  })

  test('says its own version, as lsmdev too', async () => {
    using scratch = new Scratch()
    const said = await run('mdevctl', ['--version'], scratch.path)
    assert.match(said.stdout, /^\d+\.\d+\.\d+\n$/)
    assert.equal(said.code, 0)
    assert.deepEqual(await run('lsmdev', ['-V'], scratch.path), said)
  })
})
