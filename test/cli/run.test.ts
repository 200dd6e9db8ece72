/** `mdevkit` as a child process: what it prints, how it ends, and what it leaves behind. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readdirSync, readFileSync, symlinkSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { after, test } from 'node:test'
import { Client } from '../../src/vfio-user/client.ts'
import { leftIn, Mdevkit, PROJECT, serve } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { refusalLine } from './refusal-line.ts'

const UUID = '83b8f4f2-509f-382f-3c1e-e6bfe0fa1001'

/** A module with a driver of that name, whose `probe` begins with `body`. */
function driverSource(name: string, body = ''): string {
  return `import { defineDriver, ErrnoError } from 'mdevkit'\n${driverExport(name, body)}`
}

function driverExport(name: string, body = ''): string {
  return `export const ${name} = defineDriver({
  name: '${name}',
  types: { 1: {} },
  probe(mdev) {
    ${body}
    mdev.pci({ vendor: 0x1b36, device: 0xbe11, class: 0xff_00_00 })
    return { reset() {} }
  },
})
`
}

test('run --json prints one object with where the mdev is and how to attach it', async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty', '--type', 'mtty-2', '--uuid', UUID], {
    root: scratch.path,
  })
  const { host, report } = serving
  const socket = join(scratch.path, 'devices', UUID, 'cntrl')
  assert.deepEqual(report, {
    uuid: UUID,
    parent: 'mtty',
    type: 'mtty-2',
    group: 0,
    socket,
    qemu: [
      '-m',
      '1G',
      '-object',
      'memory-backend-memfd,id=mem,size=1G,share=on',
      '-machine',
      'q35,memory-backend=mem',
      '-device',
      `{"driver":"vfio-user-pci","socket":{"type":"unix","path":"${socket}"}}`,
    ],
    cloudHypervisor: ['--memory', 'size=1G,shared=on', '--user-device', `socket=${socket}`],
  })
  const { code, stdout, stderr } = await host.stop('SIGINT')
  assert.equal(stdout, `${JSON.stringify(report)}\n`)
  assert.equal(stderr, '')
  assert.equal(code, 0)
})

test('run prints for people what --json prints for programs, and the terminals', async () => {
  using scratch = new Scratch()
  await using host = await Mdevkit.start(['run', 'mtty', '-t', 'mtty-2', '-u', UUID], {
    root: scratch.path,
  })
  await host.stdout.waitFor(/clients may come and go\.\n/)
  const text = host.stdout.text
    .replaceAll(scratch.path, '/run/mdevkit')
    .replaceAll(/\/dev\/pts\/\d+/g, '/dev/pts/N')
  assert.equal(text, readFileSync(`${PROJECT}test/cli/golden/run-mtty.txt`, 'utf8'))
})

test('run takes the first type and a fresh UUID unless told otherwise', async () => {
  using scratch = new Scratch()
  await using first = await serve(['mtty'], { root: scratch.path })
  await using second = await serve(['mtty'], { root: scratch.path })
  const version4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
  for (const { report } of [first, second]) {
    assert.equal(report.type, 'mtty-1')
    assert.match(report.uuid, version4)
  }
  assert.notEqual(first.report.uuid, second.report.uuid)
})

test('run names the mdev by the UUID in lower case', async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty', '--uuid', UUID.toUpperCase()], {
    root: scratch.path,
  })
  assert.equal(serving.report.uuid, UUID)
  assert.deepEqual(readdirSync(join(scratch.path, 'devices')), [UUID])
})

test('run beside another run of the same driver takes the next parent and group', async () => {
  using scratch = new Scratch()
  await using first = await serve(['mtty'], { root: scratch.path })
  await using second = await serve(['mtty'], { root: scratch.path })
  const names = [first, second].map(({ report: { parent, group } }) => ({ parent, group }))
  assert.deepEqual(names, [
    { parent: 'mtty', group: 0 },
    { parent: 'mtty.1', group: 1 },
  ])
  await first.host.stop()
  await using third = await serve(['mtty'], { root: scratch.path })
  assert.equal(third.report.parent, 'mtty', 'a name that became free is used again')
  assert.equal(third.report.group, 0)
})

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  test(`run ends with 0 on ${signal} and leaves nothing behind`, async () => {
    using scratch = new Scratch()
    await using serving = await serve(['mtty', '--set', 'ports=socket'], { root: scratch.path })
    assert.notDeepEqual(leftIn(scratch.path), [])
    const { code, stderr } = await serving.host.stop(signal)
    assert.equal(code, 0)
    assert.equal(stderr, '')
    assert.deepEqual(leftIn(scratch.path), [])
  })
}

test('run takes over from a host that was killed', async () => {
  using scratch = new Scratch()
  await using killed = await serve(['mtty', '--uuid', UUID], { root: scratch.path })
  await killed.host.stop('SIGKILL')
  assert.ok(leftIn(scratch.path).includes(`devices/${UUID}/cntrl`), 'a stale socket')
  await using serving = await serve(['mtty', '--uuid', UUID], { root: scratch.path })
  const { host, report } = serving
  assert.deepEqual(report, killed.report)
  assert.equal((await host.stop()).code, 0)
  assert.deepEqual(leftIn(scratch.path), [])
})

test('run refuses a UUID that another host has with EEXIST, naming its pid', async () => {
  using scratch = new Scratch()
  await using serving = await serve(['mtty', '--uuid', UUID], { root: scratch.path })
  const { host } = serving
  const before = leftIn(scratch.path)
  await using second = await Mdevkit.start(['run', 'mtty', '--uuid', UUID], { root: scratch.path })
  const { code, stdout, stderr } = await second.ended
  const line = `mdevkit run: EEXIST: mdev ${UUID}: in use by pid ${host.pid}\n`
  assert.equal(refusalLine(stderr), line)
  assert.equal(stdout, '')
  assert.equal(code, 4)
  assert.deepEqual(leftIn(scratch.path), before)
})

test('run leaves the socket of somebody else alone and refuses with EEXIST', async () => {
  using scratch = new Scratch()
  const directory = join(scratch.path, 'devices', UUID)
  mkdirSync(directory, { recursive: true })
  const socket = join(directory, 'cntrl')
  const server = createServer().listen(socket)
  await once(server, 'listening')
  try {
    await using run = await Mdevkit.start(['run', 'mtty', '--uuid', UUID], { root: scratch.path })
    const { code, stderr } = await run.ended
    const line = `mdevkit run: EEXIST: mdev ${UUID}: another program serves ${socket}\n`
    assert.equal(refusalLine(stderr), line)
    assert.equal(code, 4)
    assert.deepEqual(leftIn(scratch.path), [`devices/${UUID}`, `devices/${UUID}/cntrl`])
  } finally {
    server.close()
  }
})

test('run loads a driver in TypeScript from anywhere, with what it imports', async () => {
  using scratch = new Scratch()
  scratch.write('elsewhere/helper.ts', `export const NAME: string = 'from a helper'`)
  const file = scratch.write(
    'elsewhere/card.ts',
    `import { NAME } from './helper.ts'\n${driverSource('card', 'const _: string = mdev.uuid')}`.replace(
      '1: {}',
      '1: { name: NAME }',
    ),
  )
  const root = join(scratch.path, 'root')
  await using absolute = await Mdevkit.start(['run', file], { root })
  await absolute.stdout.waitFor(/^type +card-1 \(from a helper\)$/m)
  await using relative = await Mdevkit.start(['run', './elsewhere/card.ts'], {
    root,
    cwd: scratch.path,
  })
  await relative.stdout.waitFor(/^parent +card\.1$/m)
})

test('run loads a driver in JavaScript', async () => {
  using scratch = new Scratch()
  const file = scratch.write('card.mjs', driverSource('card'))
  await using serving = await serve([file], { root: join(scratch.path, 'root') })
  assert.equal(serving.report.type, 'card-1')
})

test('run --verbose shows where a refusal comes from', async () => {
  using scratch = new Scratch()
  const file = scratch.write('card.ts', driverSource('card', `throw new TypeError('no card')`))
  await using run = await Mdevkit.start(['run', file, '--verbose'], { root: scratch.path })
  const { stderr } = await run.ended
  assert.match(stderr, /TypeError: no card\n +at .*card\.ts:6:/)
})

test('run goes on when its driver fails in a timer or a promise, and says where', async () => {
  using scratch = new Scratch()
  const body = `setTimeout(() => { throw new Error('no tick') })
    void Promise.reject(new ErrnoError('EFAULT', 'no page'))`
  const file = scratch.write('card.ts', driverSource('card', body))
  await using serving = await serve([file], { root: join(scratch.path, 'root') })
  await serving.host.stderr.waitFor(/driver's timer or promise: EFAULT: no page$/m)
  await serving.host.stderr.waitFor(/driver's timer or promise: no tick \(\/\S+card\.ts:6\)$/m)
  const client = await Client.attach(serving.report.socket)
  assert.equal(await client.config.readU16(0), 0x1b36)
  client.detach()
  assert.equal((await serving.host.stop()).code, 0)
})

interface Refusal {
  readonly title: string
  readonly args: readonly string[]
  /** Standard error, all of it but `mdevkit…: ` and the newline. */
  readonly says: RegExp
  /** That of its errno unless given. */
  readonly code?: number
  readonly root?: string
}

const files = new Scratch()
after(() => files[Symbol.dispose]())

const throwing = files.write('throwing.ts', '\nthrow new Error("at once\\nand more")')
const syntax = files.write('syntax.ts', 'const fine = 1\nconst = 1')
const stripless = files.write('enum.ts', 'export enum Colour { red }')
const javascript = files.write('syntax.js', 'const = 1')
const without = files.write('without.ts', 'export const card = 1')
const two = files.write('two.ts', driverSource('one') + driverExport('two'))
const text = files.write('notes.txt', '')
const typeImport = files.write('type-import.ts', `import { Registers } from 'mdevkit'`)
const commonJs = files.write('common.js', `\nconst { defineDriver } = require('mdevkit')`)
const importing = files.write('importing.ts', `import './not-there.ts'`)
const badName = files.write('bad-name.ts', driverSource('card').replace(`'card'`, `'a/b'`))
const bare = files.write('bare.ts', driverSource('card').replace('mdev.pci', 'String'))
const absent = join(files.path, 'absent.ts')
const inTheWay = files.write('file', '')
const deep = join(files.path, 'd'.repeat(90))
const failing = files.write(
  'failing.ts',
  driverSource('card', `throw new ErrnoError('ENODEV', 'slot 1:\\nno card')`),
)
const buggy = files.write('buggy.ts', driverSource('card', `throw new TypeError('no such thing')`))
const odd = files.write(
  'odd size.ts',
  driverSource(
    'card',
    `mdev.pci({ vendor: 1, device: 1, class: 0 }).bar(0, { kind: 'mem32', size: 100 }, mdev)`,
  ),
)
const throwsText = files.write('throws-text.ts', driverSource('card', `throw 'a fit'`))

const REFUSALS: readonly Refusal[] = [
  {
    title: 'what is no UUID',
    args: ['mtty', '--uuid', '{83b8f4f2}'],
    says: /^EINVAL: "\{83b8f4f2\}" is no uuid: /,
  },
  {
    title: 'an unknown type',
    args: ['mtty', '--type', 'mtty-3'],
    says: /^ENOENT: type mtty-3: .* mtty-1, mtty-2$/,
  },
  {
    title: 'another driver’s type',
    args: ['mtty', '--type', 'nvme-1'],
    says: /^ENOENT: type nvme-1: /,
  },
  {
    title: 'an unknown driver',
    args: ['teletype'],
    says: /^ENOENT: driver "teletype": .*\bmtty\b.* \.\/teletype\.ts$/,
  },
  { title: 'a path where nothing is', args: [absent], says: named('ENOENT', absent) },
  { title: 'a directory', args: [files.path], says: named('EINVAL', files.path) },
  { title: 'a file that is no module', args: [text], says: named('EINVAL', text) },
  {
    title: 'a module that throws when loaded, saying where',
    args: [throwing],
    says: /^EINVAL: driver \S+throwing\.ts: .*: Error: at once \(\/\S+throwing\.ts:2\)$/,
  },
  {
    title: 'TypeScript with a syntax error, saying where',
    args: [syntax],
    says: /^EINVAL: driver \S+syntax\.ts: .*: SyntaxError: .*\(\/\S+syntax\.ts:2\)$/,
  },
  {
    title: 'TypeScript that is more than types',
    args: [stripless],
    says: /^EINVAL: driver \S+enum\.ts: .*: SyntaxError: .*enum.*\(\/\S+enum\.ts:1\)$/,
  },
  {
    title: 'JavaScript with a syntax error, saying where',
    args: [javascript],
    says: /^EINVAL: driver \S+syntax\.js: .*: SyntaxError: .*\(\/\S+syntax\.js:1\)$/,
  },
  {
    title: 'a type that is imported as a value, saying how it is done',
    args: [typeImport],
    says: /named 'Registers' \(\/\S+type-import\.ts:1\); what is a type is imported by 'import type'$/,
  },
  {
    title: 'a module of CommonJS, saying how it is done',
    args: [commonJs],
    says: /Cannot find module 'mdevkit' \(\/\S+common\.js:2\); a driver is an ES module: import /,
  },
  {
    title: 'a module that imports what is not there',
    args: [importing],
    says: /^EINVAL: driver \S+importing\.ts: .*not-there\.ts/,
  },
  { title: 'a module without a driver', args: [without], says: named('EINVAL', without) },
  {
    title: 'a module with two drivers',
    args: [two],
    says: /^EINVAL: driver \S+two\.ts: exports several drivers: one, two$/,
  },
  {
    title: 'a driver whose name is no file name',
    args: [badName],
    says: /^EINVAL: driver \S+bad-name\.ts: .*"a\/b"/,
  },
  {
    title: 'a driver that builds no PCI function',
    args: [bare],
    says: /^EINVAL: driver card: probe has not called mdev\.pci\(\)$/,
  },
  {
    title: 'what probe refuses, by its errno',
    args: [failing],
    says: /^ENODEV: slot 1: no card$/,
  },
  {
    title: 'what probe has not thought of',
    args: [buggy],
    says: /^EIO: TypeError: no such thing \(\/\S+buggy\.ts:6\)$/,
  },
  {
    title: 'what mdevkit refuses in probe, saying where',
    args: [odd],
    says: /^EINVAL: bar 0: size 0x64 is no power of two .* \(\/.*odd size\.ts:6\)$/,
  },
  { title: 'what is thrown and no error', args: [throwsText], says: /^EIO: a fit$/ },
  {
    title: 'an unknown setting',
    args: ['mtty', '--set', 'colour=red'],
    says: /^ENOENT: attribute colour: .*ports/,
  },
  {
    title: 'a bad value of a setting',
    args: ['mtty', '--set', 'ports=usb'],
    says: /^EINVAL: attribute ports: "usb" .*pty\|socket\|loopback$/,
  },
  { title: 'a setting without =', args: ['mtty', '--set', 'ports'], code: 2, says: /'ports'/ },
  {
    title: 'a setting without a name',
    args: ['mtty', '--set', '=pty'],
    code: 2,
    says: /'=pty'/,
  },
  { title: 'an unknown option', args: ['mtty', '--tipe', 'x'], code: 2, says: /'--tipe'/ },
  { title: 'an option without its value', args: ['mtty', '--uuid'], code: 2, says: /--uuid/ },
  { title: 'no driver', args: [], code: 2, says: /'driver'/ },
  { title: 'two drivers', args: ['mtty', 'mtty'], code: 2, says: /too many arguments/ },
  {
    title: 'a lock limit that is no size',
    args: ['mtty', '--map-unsealed', '--lock-limit', 'much'],
    code: 2,
    says: /--lock-limit <size>.*'much' is invalid/,
  },
  {
    title: 'a root that is a file',
    args: ['mtty'],
    root: inTheWay,
    says: named('EEXIST', inTheWay),
  },
  {
    title: 'a root below a file',
    args: ['mtty'],
    root: join(inTheWay, 'root'),
    says: named('ENOTDIR', join(inTheWay, 'root')),
  },
  {
    title: 'a root where nothing can be made', // Node's own recursive mkdir never ends there
    args: ['mtty'],
    root: '/proc/nope/root',
    says: named('ENOENT', '/proc/nope'),
  },
  {
    title: 'a root too deep for a socket',
    args: ['mtty'],
    root: deep,
    says: named('ENAMETOOLONG', deep),
  },
]

/** Begins with the errno and has the path in it. */
function named(code: string, path: string): RegExp {
  return new RegExp(`^${code}: .*${path.replaceAll('.', String.raw`\.`)}`)
}

/** docs/cli.md, "Exit codes". */
const EXIT_CODES: Readonly<Record<string, number>> = { ENOENT: 3, ENODEV: 3, EEXIST: 4 }

for (const { title, args, says, code, root } of REFUSALS) {
  test(`run refuses in one line, leaving nothing behind: ${title}`, async () => {
    using scratch = new Scratch()
    await using run = await Mdevkit.start(['run', ...args], { root: root ?? scratch.path })
    const ended = await run.ended
    assert.equal(ended.stdout, '')
    const line = /^mdevkit(?: run)?: (.*)\n$/.exec(refusalLine(ended.stderr))?.[1]
    assert.ok(line !== undefined, `not one line: ${JSON.stringify(ended.stderr)}`)
    assert.match(line, says)
    const [errno = ''] = line.split(':')
    assert.equal(ended.code, code ?? EXIT_CODES[errno] ?? 1)
    if (root !== inTheWay) assert.deepEqual(leftIn(root ?? scratch.path), [])
  })
}

test('mdevkit --version and --help go to standard output', async () => {
  const manifest = JSON.parse(readFileSync(`${PROJECT}package.json`, 'utf8')) as { version: string }
  for (const [args, expected] of [
    [['--version'], new RegExp(`^${manifest.version}\n$`)],
    [['--help'], /^Usage: mdevkit .*\n[^]*\brun\b/],
    [['run', '--help'], /^Usage: mdevkit run .*\n[^]*--set <key=value>/],
  ] as const) {
    await using run = await Mdevkit.start(args, { root: '/nowhere' })
    const { code, stdout, stderr } = await run.ended
    assert.match(stdout, expected)
    assert.equal(stderr, '')
    assert.equal(code, 0)
  }
})

test('mdevkit without a command, or with an unknown one, is wrong usage', async () => {
  for (const [args, says] of [
    [[], /^Usage: mdevkit /],
    [['walk'], /^mdevkit: unknown command 'walk'\nhint: mdevkit --help .*\n$/],
    [['stats'], /^mdevkit: unknown command 'stats' \(Did you mean status\?\)\nhint: .*\n$/],
  ] as const) {
    await using run = await Mdevkit.start(args, { root: '/nowhere' })
    const { code, stdout, stderr } = await run.ended
    assert.match(stderr, says)
    assert.equal(stdout, '')
    assert.equal(code, 2)
  }
})

test('mdevkit works through a link, as npm installs it', () => {
  using scratch = new Scratch()
  const link = join(scratch.path, 'mdevkit')
  symlinkSync(`${PROJECT}bin/mdevkit.js`, link)
  assert.match(execFileSync(link, ['--version'], { encoding: 'utf8' }), /^\d+\.\d+\.\d+\n$/)
})
