/** Completion: which words fit, and that bash, zsh and fish offer them. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, rmSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { complete } from '../../src/cli/complete.ts'
import { createProgram } from '../../src/cli/program.ts'
import { Api } from '../http/support.ts'
import { PROJECT } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { cli } from './cli.ts'
import { startParents } from './mdevctl-machine.ts'

const ACTIVE = '00000001-0000-4000-8000-000000000001'
const DEFINED = '00000002-0000-4000-8000-000000000002'

const NODE = 'mdev_00000001_0000_4000_8000_000000000001_mdpy'
const DEFINED_NODE = 'mdev_00000002_0000_4000_8000_000000000002_mtty'

let api: Api
let bin: string
before(async () => {
  api = await Api.start()
  const { daemon, client } = api
  await startParents(daemon, ['mdpy', 'mtty'])
  await client.start({ uuid: ACTIVE, parent: 'mdpy', type: 'mdpy-vga' })
  const definition = { type: 'mtty-2', start: 'manual', attributes: [] } as const
  await client.define({ uuid: DEFINED, parent: 'mtty' }, definition)
  bin = join(daemon.scratch.path, 'bin')
  mkdirSync(bin)
  symlinkSync(join(PROJECT, 'bin/mdevkit.js'), join(bin, 'mdevkit'))
})
after(async () => api[Symbol.asyncDispose]())

/** The words that fit behind a line, whose last word may be unfinished. */
async function completed(line: string): Promise<string> {
  const surroundings = {
    plane: api.client,
    scriptedPlane: api.client,
    sysfs: '',
    out: () => {},
    err: () => {},
    version: '1',
    asMdevctl: false,
  }
  const text = await complete(createProgram(surroundings), line.split(' '), surroundings)
  return text.replaceAll(/\t.*\n/g, ' ').trim()
}

describe('complete()', () => {
  const CASES: readonly (readonly [line: string, words: string])[] = [
    ['st', 'status start stop'],
    ['start-', ''], // for udev alone
    ['nodedev du', 'dumpxml'],
    ['list --d', '--defined --dumpjson'],
    ['list -o ', 'table json yaml name'],
    ['list --output=y', '--output=yaml'],
    ['status -', '--output --root --help'],
    ['completion ', 'bash zsh fish'],
    ['attach --vmm c', 'cloud-hypervisor'],
    ['types -p ', 'mdpy mtty'],
    ['start --parent m', 'mdpy mtty'],
    ['unregister m', 'mdpy mtty'],
    ['register m', ''], // their hosts are there
    ['define -t ', 'mdpy-vga mtty-1 mtty-2'],
    ['define -p mtty -t ', 'mtty-1 mtty-2'],
    ['define --parent=mtty --type=mtty-', '--type=mtty-1 --type=mtty-2'],
    ['stop -u ', ACTIVE],
    ['attach ', ACTIVE],
    [`attach ${ACTIVE} `, ''],
    ['start -u ', DEFINED],
    ['start -u 00000001', ''], // it is active
    ['--root /nowhere stop -u ', ACTIVE],
    ['define -u ', ACTIVE],
    ['run x --type ', ''], // its driver has types of its own
    ['run x --uuid ', ''],
    ['nodedev destroy ', NODE],
    ['nodedev start ', DEFINED_NODE],
    ['nodedev dumpxml m', `mdpy_mdpy mtty_mtty ${NODE} ${DEFINED_NODE}`],
    ['modify --uuid=0000', `--uuid=${DEFINED}`],
    ['undefine -u 0', DEFINED],
    ['list -u ', `${ACTIVE} ${DEFINED}`],
    ['start-parent-mdevs ', 'mdpy mtty'],
    ['define --jsonfile ', ':files'],
    ['run ', ':files'],
    ['--root /tm', ':files'],
    ['nonsense ', 'status events'],
    ['list nonsense --nonsense x', ''],
    ['modify --value ', ''],
  ]
  for (const [line, words] of CASES) {
    test(`${line}| ${words}`, async () => {
      const found = await completed(line)
      if (line.startsWith('nonsense')) assert.ok(found.startsWith(words))
      else assert.equal(found, words)
    })
  }
})

test('__complete says nothing where no daemon is, or one that hangs, and does not wait for it', async () => {
  using scratch = new Scratch()
  const none = await cli(['__complete', 'stop', '-u', ''], { root: scratch.path })
  assert.deepEqual([none.code, none.stdout, none.stderr], [0, '', ''])
  const hanging = createServer(() => {}).listen(join(scratch.path, 'api.sock'))
  await once(hanging, 'listening')
  try {
    const other = ['__complete', 'stop', '--root', scratch.path, '-u', '']
    const late = await cli(other, { root: '/nowhere' })
    assert.deepEqual([late.code, late.stdout, late.stderr], [0, '', ''])
  } finally {
    hanging.close()
  }
})

/** What a shell offers behind a line: it runs in a process of its own, and asks the API of this one. */
async function offered(shell: 'bash' | 'zsh' | 'fish', line: string): Promise<readonly string[]> {
  const { stdout: script } = await cli(['completion', shell], { root: '/nowhere' })
  const file = api.daemon.scratch.write(`completion.${shell}`, script)
  const { scratch } = api.daemon
  const env = {
    ...process.env,
    PATH: `${bin}:${process.env['PATH']}`,
    MDEVKIT_ROOT: scratch.path,
    HOME: scratch.path,
    LINE: line,
    FILE: file,
  }
  const { error, stdout, stderr } = await finished(shell, DRIVERS[shell], env)
  assert.equal(error, undefined, `${shell} is needed: apt-get install ${shell}`)
  assert.equal(stderr, '')
  return stdout
    .split('\n')
    .map((word) => word.trim())
    .filter((word) => word !== '')
}

/** Not while this process waits: the API is in it. */
async function finished(shell: string, program: string, env: NodeJS.ProcessEnv) {
  const child = spawn(shell, ['-c', program], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  const said = { stdout: '', stderr: '' }
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said.stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (said.stderr += text))
  const error = await new Promise<Error | undefined>((resolve) => {
    child.once('error', resolve).once('close', () => resolve(undefined))
  })
  return { ...said, error }
}

/** Each asks its shell for what a Tab behind `$LINE` would offer. */
const DRIVERS = {
  // readline gives the function the line, and its first word
  bash: `
    source "$FILE"
    COMP_WORDS=("\${LINE%% *}") COMP_LINE=$LINE COMP_POINT=\${#LINE}
    complete -p mdevkit >/dev/null || exit 1
    _mdevkit
    printf '%s\\n' "\${COMPREPLY[@]}"`,
  // the function that hands words to zsh is taken, as no terminal is there
  zsh: `
    autoload -Uz compinit && compinit -u -D
    source "$FILE"
    _describe() { local name=$2; print -rl -- "\${(@P)name%%:*}" }
    words=("\${(@s: :)LINE}")
    CURRENT=\${#words}
    PREFIX=\${words[CURRENT]}
    \${_comps[mdevkit]}`,
  fish: `
    source $FILE
    complete -C $LINE | string replace -r '\\t.*' ''`,
} as const

describe('completion', () => {
  for (const shell of ['bash', 'zsh', 'fish'] as const) {
    test(`${shell} offers commands, options, values, and what the daemon knows`, async () => {
      assert.deepEqual((await offered(shell, 'mdevkit sta')).toSorted(), ['start', 'status'])
      assert.deepEqual(await offered(shell, 'mdevkit list --dum'), ['--dumpjson'])
      assert.deepEqual(await offered(shell, 'mdevkit stop -u '), [ACTIVE])
      assert.deepEqual((await offered(shell, 'mdevkit start -p mtty -t ')).toSorted(), [
        'mtty-1',
        'mtty-2',
      ])
      assert.deepEqual((await offered(shell, 'mdevkit completion ')).toSorted(), [
        'bash',
        'fish',
        'zsh',
      ])
    })
  }

  test('bash leaves what it has broken off at = and : as it is', async () => {
    await startParents(api.daemon, ['a:b'])
    for (const [line, word] of [
      ['mdevkit types -p a', 'a:b'],
      ['mdevkit types -p a:', 'b'],
      ['mdevkit types --parent=a', 'a:b'],
      ['mdevkit types --parent=a:', 'b'],
      ['mdevkit list --output=n', 'name'],
      ['mdevkit define -p a:b -t mbochs-s', 'mbochs-small'],
    ] as const)
      assert.deepEqual(await offered('bash', line), [word], line)
  })

  test("bash is left alone where mdevctl is another's, and asks mdevkit where it is an alias", async () => {
    const line = 'mdevctl stop -u '
    assert.deepEqual(await offered('bash', line), [ACTIVE])
    const isBound = 'source "$FILE"; complete -p mdevctl 2>/dev/null || true'
    const { stdout: script } = await cli(['completion', 'bash'], { root: '/nowhere' })
    const FILE = api.daemon.scratch.write('bound.bash', script)
    const others = join(api.daemon.scratch.path, 'others')
    mkdirSync(others)
    const env = { ...process.env, FILE, PATH: `${others}:${bin}:${process.env['PATH']}` }
    const bound = 'complete -F _mdevkit mdevctl\n'
    symlinkSync(join(bin, 'mdevkit'), join(others, 'mdevctl'))
    assert.equal((await finished('bash', isBound, env)).stdout, bound)
    rmSync(join(others, 'mdevctl'))
    symlinkSync('/bin/true', join(others, 'mdevctl'))
    assert.equal((await finished('bash', isBound, env)).stdout, '')
  })

  test('is for shells that are known', async () => {
    const { code, stderr } = await cli(['completion', 'tcsh'], { root: '/nowhere' })
    assert.match(stderr, /Allowed choices are bash, zsh, fish/)
    assert.equal(code, 2)
  })

  test('scripts are such that their shells accept them', async () => {
    for (const shell of ['bash', 'zsh', 'fish']) {
      const { stdout } = await cli(['completion', shell], { root: '/nowhere' })
      const file = api.daemon.scratch.write(`script.${shell}`, stdout)
      const read = spawnSync(shell, ['-n', file], { encoding: 'utf8' })
      assert.deepEqual([read.stderr, read.status], ['', 0], shell)
    }
  })
})
