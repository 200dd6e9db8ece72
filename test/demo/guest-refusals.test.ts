/** What `npm run guest` refuses, before anything is fetched or booted. */
import assert from 'node:assert/strict'
import { chmodSync, existsSync, symlinkSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import {
  type GuestCommandOptions,
  parseGuestOptions,
  UsageFault,
} from '../../demo/guest-options.ts'
import { readHostFiles } from '../../demo/host-files.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { runDemo } from './demo-run.ts'

const scratch = new Scratch()
after(() => scratch[Symbol.dispose]())
const CACHE = join(scratch.path, 'cache')
const EXAMPLE = `${PROJECT}examples/scratchpad.ts`

/** Runs it in the scratch directory, as npm would for somebody who is there. */
async function refusal(args: readonly string[]) {
  const environment = {
    MDEVKIT_CACHE: CACHE,
    npm_lifecycle_event: 'guest',
    INIT_CWD: scratch.path,
  }
  const { status, stdout, stderr, left } = await runDemo(args, environment, { program: 'guest' })
  assert.equal(stdout, '')
  assert.deepEqual(left, [])
  assert.ok(!existsSync(CACHE), 'it has begun to prepare a guest')
  return { status, stderr }
}

const text = scratch.write('text', 'x')
const big = scratch.write('big', '')
truncateSync(big, 100 * 2 ** 20)
scratch.write('lame.ts', 'export const card = 7\n')

describe('parseGuestOptions() refuses', () => {
  const CASES: readonly (readonly [args: readonly string[], says: string])[] = [
    [[], 'which driver? For example examples/scratchpad.ts'],
    [['--', 'true'], 'which driver? For example examples/scratchpad.ts'],
    [['mtty', 'true'], 'true: what; a command for the guest stands behind --'],
    [['mtty', '--'], 'no command behind --; leave -- out for a shell'],
    [['mtty', '--', ''], 'no command behind --; leave -- out for a shell'],
    [['mtty', '--memory', '1G', '--', 'true'], '--memory 1G: expected MiB, 128 or more'],
    [['mtty', '--memory', '16', '--', 'true'], '--memory 16: expected MiB, 128 or more'],
    [['mtty', '--mem', '16', '--', 'true'], "Unknown option '--mem'"],
    [['mtty', '--module', '--', 'true'], "Option '--module"],
  ]
  for (const [args, says] of CASES) {
    test(`${JSON.stringify(args)}: ${says}`, () => {
      assert.throws(
        () => parseGuestOptions(args),
        (error) => {
          assert.ok(error instanceof UsageFault && error.message.startsWith(says), String(error))
          return true
        },
      )
    })
  }
})

test('parseGuestOptions() takes all behind -- as the command, and hands on what is for mdevkit run', () => {
  const args = ['-v', 'mtty', '-s', 'a=b', '--set=-c=', '-t', 'x', '--', 'ls', '--', '-l', '$x']
  assert.deepEqual(parseGuestOptions(args), {
    driver: 'mtty',
    runOptions: ['--type=x', '--set=a=b', '--set=-c=', '--verbose'],
    modules: [],
    files: [],
    memoryMiB: 256,
    command: 'ls -- -l $x',
  })
  assert.equal((parseGuestOptions(['mtty']) as GuestCommandOptions).command, undefined)
})

for (const [args, says] of [
  [[], 'which driver? For example examples/scratchpad.ts'],
  [[EXAMPLE], 'no terminal here for a shell; give a command behind --'],
] as const) {
  test(`guest refuses with 2 and its usage: ${says}`, async () => {
    const { status, stderr } = await refusal(args)
    assert.equal(status, 2)
    assert.ok(stderr.startsWith(`guest: ${says}\nusage: npm run guest -- DRIVER `), stderr)
  })
}

describe('readHostFiles() refuses', () => {
  const none = join(scratch.path, 'none')
  const CASES: readonly (readonly [files: readonly string[], code: string, says: string])[] = [
    [[none], 'ENOENT', `file ${none}: ENOENT: no such file`],
    [[`${none}:/opt/none`], 'ENOENT', `file ${none}: ENOENT: no such file`],
    [[scratch.path], 'EINVAL', `file ${scratch.path}: not a regular file`],
    [['/dev/zero'], 'EINVAL', 'file /dev/zero: not a regular file'],
    [[`${text}:opt`], 'EINVAL', `file ${text}:opt: its place in the guest must be absolute`],
    [[`${text}:`], 'EINVAL', `file ${text}:: its place in the guest must be absolute`],
    [[`${text}:/x/../init`], 'EINVAL', `file ${text}:/x/../init: /init is the guest's own`],
    [
      [text, `${text}:/root//text`],
      'EEXIST',
      `file ${text}:/root//text: /root/text is given twice`,
    ],
    [[text, big], 'ENOSPC', `file ${big}: 100.0 MiB of files for a guest of 256 MiB`],
  ]
  for (const [files, code, says] of CASES) {
    test(`${files.join(' ')}: ${says}`.replaceAll(scratch.path, ''), async () => {
      await assert.rejects(readHostFiles(files, 256), (error) => {
        assert.ok(error instanceof ErrnoError && error.message.startsWith(says), String(error))
        assert.equal(error.code, code)
        return true
      })
    })
  }
})

test('readHostFiles() takes names with colons, directories, and modes', async () => {
  const odd = scratch.write('a:b', 'odd')
  chmodSync(odd, 0o750)
  const files = await readHostFiles([odd, `${odd}:/opt/`, `${text}:/etc/../x`], 256)
  assert.deepEqual(
    files.map(({ path, mode, content }) => [path, mode, String(content)]),
    [
      ['/root/a:b', 0o750, 'odd'],
      ['/opt/a:b', 0o750, 'odd'],
      ['/x', 0o644, 'x'],
    ],
  )
})

test('guest refuses a file that is not there, named from where the user is', async () => {
  const { status, stderr } = await refusal([EXAMPLE, '--file', 'text', '--file', 'none', '--', 'x'])
  assert.match(stderr, /^guest: ENOENT: file none: ENOENT: .*\n$/)
  assert.equal(status, 3)
})

describe('guest refuses drivers, types and settings as mdevkit run does', () => {
  const CASES: readonly (readonly [args: readonly string[], status: number, says: string])[] = [
    [['none'], 3, 'mdevkit run: ENOENT: driver "none": not shipped'],
    [['./none.ts'], 3, 'mdevkit run: ENOENT: driver ./none.ts: no such file'],
    [['lame.ts'], 1, 'mdevkit run: EINVAL: driver lame.ts: exports no driver'],
    [['mtty', '--type', 'mtty-9'], 3, 'mdevkit run: ENOENT: type mtty-9'],
    [['mtty', '-s', 'ports=none'], 1, 'mdevkit run: EINVAL: attribute ports'],
    [['mtty', '--set', 'ports'], 2, "mdevkit: option '-s, --set <key=value>' argument 'ports'"],
    [['mtty', '--parent-set', 'a=b'], 3, 'mdevkit run: ENOENT: attribute a'],
  ]
  for (const [args, expected, says] of CASES) {
    test(`${args.join(' ')}: ${says}`, async () => {
      const { status, stderr } = await refusal([...args, '--', 'true'])
      assert.ok(stderr.startsWith(says), stderr)
      assert.match(stderr, /\nhint: .*\n$/)
      assert.equal(status, expected)
    })
  }
})

test('guest where there is neither QEMU nor apt says so, and ends', async () => {
  using programs = new Scratch()
  for (const program of ['sh', 'cat', 'rm', 'mkdir', 'sleep'])
    symlinkSync(`/bin/${program}`, join(programs.path, program))
  const { status, stdout, stderr, left } = await runDemo(
    [EXAMPLE, '--', 'true'],
    { PATH: programs.path, MDEVKIT_CACHE: join(programs.path, 'cache') },
    { program: 'guest' },
  )
  assert.equal(stdout, '')
  assert.match(stderr, /^guest: ENOENT: apt-get: not found; .*\n$/m)
  assert.equal(status, 3)
  assert.deepEqual(left, [])
})

test('guest --help shows its usage', async () => {
  const { status, stdout } = await runDemo(['--help'], {}, { program: 'guest' })
  assert.equal(status, 0)
  assert.match(stdout, /^usage: npm run guest -- DRIVER \[options\] \[-- COMMAND\]\n/)
})
