/** What mdevctl's verbs do where its transcript is silent, or where we differ from it on purpose (docs/mdevctl.md). */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { createWarn } from '../../src/cli/mdevctl-warn.ts'
import { Client } from '../../src/vfio-user/client.ts'
import { machineWith } from './mdevctl-machine.ts'
import { mdevctl, playGolden } from './mdevctl-player.ts'

const UUID = '00000001-0000-4000-8000-000000000001'
const DONE = { stdout: '', stderr: '', code: 0 }
/** VFIO_PCI_REQ_IRQ_INDEX, by which a client is asked to let go. */
const REQ = 4

function refused(text: string) {
  return { stdout: '', stderr: `Error: ${text}\n`, code: 1 }
}

test('mdevctl modify --live changes what a driver can change in use', async () => {
  using daemon = await machineWith(['live'])
  await playGolden('live', { plane: daemon.machine, cwd: daemon.scratch.path })
})

test('mdevctl stop asks the client to let go, and waits for it', async () => {
  using daemon = await machineWith(['mdpy'])
  const { machine } = daemon
  const { socket } = await machine.start({ uuid: UUID, parent: 'mdpy', type: 'mdpy-vga' })
  const client = await Client.attach(socket ?? '')
  const requests = await client.interrupts(REQ)
  const stopping = mdevctl(['stop', '-u', UUID], machine)
  await requests.next()
  client.detach()
  assert.deepEqual(await stopping, DONE)
  assert.deepEqual((await machine.list()).mdevs, [])
})

test('mdevctl start names the value that was refused, where an attribute comes more than once', async () => {
  using daemon = await machineWith(['mprobe-a'])
  const { machine } = daemon
  const attributes = [
    ['assign', 'one'],
    ['assign', 'bad'],
    ['assign', 'two'],
  ] as const
  const definition = { type: 'mprobe-one', start: 'manual', attributes } as const
  await machine.define({ parent: 'mprobe-a', uuid: UUID }, definition)
  const cause = '\nCaused by:\n    Invalid argument (os error 22)\n'
  assert.deepEqual(await mdevctl(['start', '-u', UUID], machine), {
    stdout: '',
    stderr: `Error: Failed to write bad to attribute assign\n${cause}`,
    code: 1,
  })
})

test('mdevctl define passes on what the control plane refuses', async () => {
  using daemon = await machineWith(['mdpy'])
  const { machine } = daemon
  assert.deepEqual(
    await mdevctl(['define', '-u', UUID, '-p', '.hidden', '-t', 'x'], machine),
    refused('EINVAL: parent ".hidden": not a file name'),
  )
})

test('mdevctl types prints the number of a type without a limit, where mdevctl cannot read it', async () => {
  using daemon = await machineWith(['live'])
  const { stdout } = await mdevctl(['types'], daemon.machine)
  assert.match(stdout, /^live\n {2}live-1\n {4}Available instances: 4294967295\n/)
})

test('mdevctl list --dumpjson keeps parents in the order of their names, numbers too', async () => {
  using daemon = await machineWith([])
  const { machine } = daemon
  const definition = { type: 't', start: 'manual', attributes: [] } as const
  for (const parent of ['9', '10', 'a']) await machine.define({ parent, uuid: UUID }, definition)
  const { stdout } = await mdevctl(['list', '-d', '--dumpjson'], machine)
  assert.deepEqual(stdout.match(/^ {4}"\w+"/gm), ['    "10"', '    "9"', '    "a"'])
  assert.doesNotThrow(() => void JSON.parse(stdout))
})

describe('mdevctl list -d and broken files', () => {
  const cases: readonly (readonly [file: string, text: string, played: object])[] = [
    [`p/${UUID}`, '{}', refused('invalid json')],
    [
      `p/${UUID}`,
      '{"mdev_type":"x","start":"auto","attrs":{}}',
      refused('attributes field is not an array'),
    ],
    [`p/${UUID.replaceAll('-', '')}`, '{}', DONE],
  ]
  for (const [file, text, expected] of cases) {
    test(`${file}: ${text}`, async () => {
      using daemon = await machineWith([])
      daemon.scratch.write(join('mdevctl.d', file), text)
      assert.deepEqual(await mdevctl(['list', '-d'], daemon.machine), expected)
    })
  }

  test('a broken one is told of rather than one whose name is no UUID', async () => {
    using daemon = await machineWith([])
    daemon.scratch.write('mdevctl.d/p/nonsense', '')
    daemon.scratch.write(`mdevctl.d/p/${UUID}`, '{}')
    assert.deepEqual(await mdevctl(['list', '-d'], daemon.machine), refused('invalid json'))
  })

  test('one that is not asked for does no harm', async () => {
    using daemon = await machineWith([])
    daemon.scratch.write(`mdevctl.d/p/${UUID}`, 'nonsense')
    for (const option of [
      ['-p', 'other'],
      ['-u', '00000002-0000-4000-8000-000000000002'],
    ]) {
      assert.deepEqual(await mdevctl(['list', '-d', ...option], daemon.machine), DONE)
    }
  })
})

describe('createWarn()', () => {
  test('writes lines as env_logger does, unless MDEVCTL_LOG asks for errors alone', () => {
    for (const [level, count] of [
      [undefined, 1],
      ['debug', 1],
      ['error', 0],
      ['off', 0],
    ] as const) {
      const lines: string[] = []
      const environment = level === undefined ? {} : { MDEVCTL_LOG: level }
      createWarn((line) => lines.push(line), environment)('text', 'mdevctl::environment')
      assert.equal(lines.length, count)
      for (const line of lines) {
        assert.match(
          line,
          /^\[\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ WARN {2}mdevctl::environment\] text\n$/,
        )
      }
    }
  })
})
