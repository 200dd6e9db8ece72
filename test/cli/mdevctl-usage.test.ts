/** Command lines that mdevctl refuses before it does anything: exit code 2, and clap's words on one line. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { machineWith } from './mdevctl-machine.ts'
import { mdevctl } from './mdevctl-player.ts'

const U = ['-u', '00000001-0000-4000-8000-000000000001']

/** clap 4, its parser and validator; those that the transcript has are played from the golden files. */
const REFUSED: readonly (readonly [readonly string[], string])[] = [
  [['list', '--nonsense'], "unexpected argument '--nonsense' found"],
  [['list', '--nonsense=1'], "unexpected argument '--nonsense' found"],
  [['list', '-dx'], "unexpected argument '-x' found"],
  [['list', '-d', '-d'], "the argument '--defined' cannot be used multiple times"],
  [['list', ...U, ...U], "the argument '--uuid <UUID>' cannot be used multiple times"],
  [['list', '-u'], "a value is required for '--uuid <UUID>' but none was supplied"],
  [['list', '-p', '-d'], "a value is required for '--parent <PARENT>' but none was supplied"],
  [
    ['list', '-p', '--', 'mtty'],
    "a value is required for '--parent <PARENT>' but none was supplied",
  ],
  [
    ['list', '--defined=yes'],
    "unexpected value 'yes' for '--defined' found; no more were expected",
  ],
  [['list', '--', '-d'], "unexpected argument '-d' found"],
  [['start-parent-mdevs', 'a', 'b'], "unexpected argument 'b' found"],
  [
    ['modify', ...U, '--delattr', '-i', 'x'],
    "invalid value 'x' for '--index <INDEX>': invalid digit found in string",
  ],
  [
    ['modify', ...U, '--delattr', '--index=-1'],
    "invalid value '-1' for '--index <INDEX>': -1 is not in 0..=4294967295",
  ],
  [
    ['modify', ...U, '--jsonfile', 'f', '--type', 't', '--index', '1'],
    "the argument '--jsonfile <JSONFILE>' cannot be used with: --type <type> --index <INDEX>",
  ],
  [
    ['modify', ...U, '-l', '--delattr', '-t', 't'],
    "the argument '--live' cannot be used with '--type <type>'",
  ],
  [
    ['modify', ...U, '--live', '--delattr', '--value', 'v'],
    "the argument '--live' cannot be used with '--value <attr_value>'",
  ],
  [
    ['modify'],
    'the following required arguments were not provided: --uuid <UUID> <--auto|--manual|--addattr <attr_name>|--delattr|--jsonfile <JSONFILE>>',
  ],
]

describe('MdevctlCommand.parseOptions()', () => {
  for (const [args, fault] of REFUSED) {
    test(`refuses ${args.join(' ')}: ${fault}`, async () => {
      using daemon = await machineWith([])
      const expected = { stdout: '', stderr: `error: ${fault}\n`, code: 2 }
      assert.deepEqual(await mdevctl(args, daemon.machine), expected)
    })
  }

  test('takes values joined to their options, those that begin with a hyphen too, and letters together', async () => {
    using daemon = await machineWith([])
    const { machine } = daemon
    const run = (...args: string[]) => mdevctl(args, machine)
    assert.equal(
      (await run('define', '-au00000001000040008000000000000001', '-pa', '-t=b')).code,
      0,
    )
    const value = ['--addattr=x', '--value=-1']
    assert.equal((await run('modify', '--uuid=00000001000040008000000000000001', ...value)).code, 0)
    assert.deepEqual(await run('list', '-dv', '--parent=a'), {
      stdout: `${U[1]} a b auto\n  Attrs:\n    @{0}: {"x":"-1"}\n`,
      stderr: '',
      code: 0,
    })
  })
})
