/** `mdevkit conformance` as a child process: what it prints, and how it ends. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { type Report, serve, Mdevkit } from '../support/mdevkit.ts'
import { Scratch } from '../support/scratch.ts'
import { type Fault, Proxy } from '../support/vfio-user-proxy.ts'
import { refusalLine } from './refusal-line.ts'

let scratch: Scratch
let host: Mdevkit
let report: Report
before(async () => {
  scratch = new Scratch()
  ;({ host, report } = await serve(['mtty'], { root: scratch.path }))
})
after(async () => {
  await host[Symbol.asyncDispose]()
  scratch[Symbol.dispose]()
})

async function conformance(...args: string[]) {
  await using command = await Mdevkit.start(['conformance', ...args], { root: scratch.path })
  return await command.ended
}

/** Says argsz 0 in the answer to DEVICE_GET_INFO (command 4). */
const WRONG_ARGSZ: Fault = {
  reply(message) {
    const copy = Buffer.from(message)
    if (copy.readUInt16LE(2) === 4 && copy.length === 32) copy.writeUInt32LE(0, 16)
    return copy
  },
}

describe('conformance', () => {
  test('prints a line for each check and a summary, and ends with 0 when none failed', async () => {
    const { code, stdout, stderr } = await conformance('--socket', report.socket, '--destructive')
    assert.equal(stderr, '')
    const [checks = '', summary = ''] = stdout.split('\n\n')
    const lines = checks.split('\n')
    const columns = lines.map((line) => /^(pass|skip) {2}([a-z0-9.-]+ +)(\S.*)$/.exec(line))
    assert.ok(!columns.includes(null), checks)
    const widths = new Set(columns.map((match) => match?.[2]?.length))
    assert.equal(widths.size, 1, 'the lines are aligned')
    const passed = columns.filter((match) => match?.[1] === 'pass').length
    assert.ok(passed > 150)
    assert.equal(summary, `${passed} passed, 0 failed, ${lines.length - passed} skipped\n`)
    assert.equal(code, 0)
  })

  test('leaves out what is destructive unless told otherwise, and says so', async () => {
    const { code, stdout } = await conformance('--socket', report.socket, '--only', 'reset')
    assert.match(stdout, /^skip {2}reset\.reply +destructive$/m)
    assert.match(
      stdout,
      /\n\n0 passed, 0 failed, 6 skipped\n--destructive runs those that may disturb the device, too\n$/,
    )
    assert.equal(code, 0)
  })

  test('--json prints one object with what the server is and how each check ended', async () => {
    const args = ['--socket', report.socket, '--json', '--only', 'info', 'framing.ids']
    const { code, stdout, stderr } = await conformance(...args)
    assert.equal(stderr, '')
    assert.equal(stdout.trimEnd().split('\n').length, 1)
    const { socket, server, results, ...counts } = JSON.parse(stdout) as {
      socket: string
      server: object
      results: unknown[]
    }
    assert.equal(socket, report.socket)
    assert.deepEqual(Object.keys(server), ['version', 'capabilities', 'flags', 'regions', 'irqs'])
    assert.deepEqual(counts, { passed: 9, failed: 0, skipped: 0 })
    assert.deepEqual(results[0], {
      id: 'framing.ids',
      rule: 'A reply has the id of its command, whatever that is.',
      reference: '§3',
      destructive: false,
      result: 'pass',
    })
    assert.equal(code, 0)
  })

  test('says what was expected and what came, and ends with 3', async () => {
    using proxy = new Proxy(join(scratch.path, 'proxy'), report.socket, WRONG_ARGSZ)
    const { code, stdout } = await conformance('--socket', proxy.path, '--only', 'info.argsz')
    const lines = stdout.split('\n')
    assert.match(
      lines[0] ?? '',
      /^FAIL {2}info\.argsz +The answer to DEVICE_GET_INFO says argsz 16\.$/,
    )
    assert.deepEqual(lines.slice(1), [
      '      expected  argsz 16',
      '      got       0',
      '',
      '0 passed, 1 failed, 0 skipped',
      '',
    ])
    assert.equal(code, 1)
  })

  test('--json has what was expected and what came, and ends with 3', async () => {
    using proxy = new Proxy(join(scratch.path, 'proxy2'), report.socket, WRONG_ARGSZ)
    const { code, stdout } = await conformance('--json', '--socket', proxy.path, '--only', 'info')
    const { results } = JSON.parse(stdout) as { results: { result: string }[] }
    const failed = results.filter(({ result }) => result === 'fail')
    assert.deepEqual(failed, [
      {
        id: 'info.argsz',
        rule: 'The answer to DEVICE_GET_INFO says argsz 16.',
        reference: '§4, §7',
        destructive: false,
        result: 'fail',
        expected: 'argsz 16',
        got: '0',
      },
    ])
    assert.equal(code, 1)
  })

  test('says in one line why the socket cannot be used, and ends with 3', async () => {
    const path = join(scratch.path, 'none')
    const { code, stdout, stderr } = await conformance('--socket', path)
    assert.deepEqual(
      { code, stdout, stderr: refusalLine(stderr) },
      { code: 3, stdout: '', stderr: `mdevkit conformance: ENOENT: connect ${path}\n` },
    )
  })

  for (const [what, args, message] of [
    ['no socket', [], /^mdevkit: required option '--socket <path>' not specified\n$/],
    [
      'a check that there is not',
      ['--socket', 'x', '--only', 'info', 'nonsense'],
      /^mdevkit: option '--only <id...>': 'nonsense' is no check, .*\n$/,
    ],
    [
      'an unknown option',
      ['--socket', 'x', '--verbose'],
      /^mdevkit: unknown option '--verbose'.*\n$/,
    ],
  ] as const) {
    test(`ends with 2 for ${what}`, async () => {
      const { code, stdout, stderr } = await conformance(...args)
      assert.match(refusalLine(stderr), message)
      assert.deepEqual({ code, stdout }, { code: 2, stdout: '' })
    })
  }
})
