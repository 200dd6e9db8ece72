/** The test runner, run over small trees of its own: what it counts, and that it ends whatever the files do. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { relative } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { findTestFiles, formatOutcome, Tally } from '../../scripts/test-runner.ts'
import { Scratch } from '../support/scratch.ts'

const PROGRAM = fileURLToPath(new URL('../../scripts/test.js', import.meta.url))
const IMPORT = `import { describe, it, test } from 'node:test'\n`

/** Runs the runner over files of the given bodies, each compiled and with a source. */
function runOver(files: Record<string, string>, ...args: string[]) {
  using tree = new Scratch()
  tree.write('package.json', '{ "type": "module" }')
  for (const [name, body] of Object.entries(files)) {
    tree.write(`test/${name}.test.ts`, '')
    tree.write(`dist/test/${name}.test.js`, IMPORT + body)
  }
  const { NODE_TEST_CONTEXT: _, ...env } = process.env // run() refuses to run inside a test
  const { status, stdout } = spawnSync(process.execPath, [PROGRAM, '--root', tree.path, ...args], {
    encoding: 'utf8',
    env,
    timeout: 200_000,
    killSignal: 'SIGKILL',
  })
  const lines = stdout.trimEnd().split('\n')
  return { status, stdout, lastLine: lines.at(-1), failed: lines.slice(lines.indexOf('failed:')) }
}

describe('test runner', () => {
  test('counts leaves, not suites, and exits 0 when all pass', () => {
    const { status, lastLine, stdout } = runOver({
      leaf: `test('a', () => {})`,
      tree: `describe('s', () => {
               it('b', () => {})
               it('c', async (t) => { await t.test('d', () => {}); await t.test('e', () => {}) })
             })`,
    })
    assert.equal(lastLine, '4 passed, 0 failed', stdout)
    assert.equal(status, 0)
  })

  test('lists failed tests with their titles and messages, and exits 1', () => {
    const { status, lastLine, failed, stdout } = runOver({
      mixed: `describe('outer', () => {
                it('good', () => {})
                it('bad', () => { throw new Error('what was wrong') })
              })`,
    })
    assert.equal(lastLine, '1 passed, 1 failed', stdout)
    assert.deepEqual(failed.slice(1, 3), [
      'dist/test/mixed.test.js › outer › bad',
      '    what was wrong',
    ])
    assert.equal(status, 1)
  })

  test('says of a failure what came, what was expected and where, and of a file what it said last', () => {
    const { failed, stdout } = runOver({
      a: `import assert from 'node:assert/strict'
          test('a', () => assert.match('7', /8/, 'seven'))`,
      b: `test('b', () => { console.error('last words'); process.exit(3) })`,
    })
    const text = failed.join('\n')
    assert.match(
      text,
      /a\.test\.js › a\n {4}seven\n {4}expected: \/8\/\n {4}came: {5}7\n {4}at .*a\.test\.js:3:\d+\)\n/,
      stdout,
    )
    assert.match(
      text,
      /b\.test\.js\n {4}the process .* code 3\n {4}it said:\n {4}last words\n/,
      stdout,
    )
  })

  test('counts neither skipped tests nor those to do as passed', () => {
    const { status, lastLine, stdout } = runOver({
      optional: `test('a', () => {}); test.skip('b', () => {}); test.todo('c', () => { throw new Error() })`,
    })
    assert.equal(lastLine, '1 passed, 0 failed', stdout)
    assert.match(stdout, /^2 skipped or to do$/m)
    assert.equal(status, 0)
  })

  const FATES = {
    'fails to load': [`import './missing.js'`, /exit code 1/],
    'has no test': [`console.log('nothing here')`, /reported no test/],
    'dies of a signal': [`test('a', () => process.kill(process.pid, 'SIGSEGV'))`, /SIGSEGV/],
    'exits 0 in a test': [
      `test('a', () => process.exit(0)); test('b', () => {})`,
      /reported no test/,
    ],
    'exits 0 between tests': [
      `test('a', () => new Promise((done) => setTimeout(done, 200)))
       test('b', () => new Promise(() => setTimeout(() => process.exit(0), 200)))
       test('c', () => {})`,
      /exited before 2 of its tests ended/,
    ],
    'throws after its tests': [
      `test('a', () => void setTimeout(() => { throw new Error('late') }, 50))`,
      /exit code 1/,
    ],
  } as const satisfies Record<string, readonly [string, RegExp]>

  for (const [fate, [body, message]] of Object.entries(FATES)) {
    test(`reports a file that ${fate}`, () => {
      const { status, lastLine, failed, stdout } = runOver({ fate: body })
      assert.equal(failed[1], 'dist/test/fate.test.js', stdout)
      assert.match(failed[2] ?? '', message)
      assert.match(lastLine ?? '', /^\d passed, 1 failed$/)
      assert.equal(status, 1)
    })
  }

  test('stops a file whose test does not end, waiting or busy, and goes on', () => {
    const files = {
      busy: `test('spins', () => { for (;;); })`,
      waits: `test('a', () => {}); test('waits', () => new Promise(() => setInterval(() => {}, 1000)))`,
      'vm/last': `test('still runs', () => {})`,
    }
    // a time that is too short for a file to begin, on this machine and now, is no test
    let timeoutMs = 1500
    const began = /'waits' did not end[^]*\n2 passed/
    let outcome = runOver(files, '--timeout-ms', `${timeoutMs}`)
    for (; !began.test(outcome.stdout) && timeoutMs < 100_000; timeoutMs *= 4)
      outcome = runOver(files, '--timeout-ms', `${timeoutMs * 4}`)
    const { status, lastLine, stdout } = outcome
    assert.match(stdout, new RegExp(`busy\\.test\\.js\\n {4}stopped: .* within ${timeoutMs} ms`))
    assert.match(
      stdout,
      new RegExp(`waits\\.test\\.js\\n {4}stopped: 'waits' did not end within ${timeoutMs} ms`),
    )
    assert.equal(lastLine, '2 passed, 2 failed', stdout)
    assert.equal(status, 1)
  })

  test('stops a file that leaves a handle open, and the processes it started', () => {
    const { status, lastLine, stdout } = runOver(
      {
        handle: `test('a', () => void setInterval(() => {}, 1000))`,
        child: `import { spawn } from 'node:child_process'
                test('a', () => void spawn('sleep', ['600'], { stdio: 'inherit' }))`,
      },
      '--linger-ms',
      '1000',
    )
    assert.match(stdout, /handle\.test\.js\n {4}stopped: still running 1000 ms after its last test/)
    assert.match(stdout, /child\.test\.js\n {4}stopped: still running 1000 ms after its last test/)
    assert.equal(lastLine, '2 passed, 2 failed', stdout)
    assert.equal(status, 1)
  })

  test('ends although a process that outlives its test file holds the pipe', () => {
    const { status, lastLine, stdout } = runOver(
      {
        orphan: `import { spawn } from 'node:child_process'
                 test('a', () => spawn('sleep', ['20'], { stdio: 'inherit', detached: true }).unref())`,
      },
      '--linger-ms',
      '1000',
    )
    assert.equal(lastLine, '1 passed, 1 failed', stdout)
    assert.equal(status, 1)
  })

  test('maps stacks back to the sources', () => {
    const { stdout } = runOver({
      flags: `test('a', () => { throw new Error(process.env.NODE_OPTIONS) })`,
    })
    assert.match(stdout, /--enable-source-maps/)
  })

  test('runs only files whose path contains an argument, by either extension', () => {
    const files = { 'lib/a': `test('a', () => {})`, 'abi/b': `test('b', () => {})` }
    assert.equal(runOver(files, 'lib').lastLine, '1 passed, 0 failed')
    assert.equal(runOver(files, 'test/abi/b.test.ts').lastLine, '1 passed, 0 failed')
  })

  test('fails when there is no test', () => {
    const { status, lastLine, failed } = runOver({ a: `test('a', () => {})` }, 'nowhere')
    assert.deepEqual(failed.slice(1, 3), ['dist/test', '    no test that matches nowhere'])
    assert.equal(lastLine, '0 passed, 1 failed')
    assert.equal(status, 1)
  })
})

test('findTestFiles() leaves out compiled files whose source is gone', () => {
  using tree = new Scratch()
  tree.write('test/lib/kept.test.ts', '')
  tree.write('dist/test/lib/kept.test.js', '')
  tree.write('dist/test/lib/stale.test.js', '')
  tree.write('dist/test/lib/helper.js', '')
  const found = findTestFiles(tree.path).map((file) => relative(tree.path, file))
  assert.deepEqual(found, ['dist/test/lib/kept.test.js'])
})

test('Tally counts a suite whose hook fails as one failure', () => {
  const tally = new Tally('/f.test.js', 'f.test.js')
  const error = Object.assign(new Error('hook'), { failureType: 'hookFailed' })
  tally.add({ type: 'test:enqueue', data: { name: 's', nesting: 0 } })
  tally.add({ type: 'test:start', data: { name: 's', nesting: 0 } })
  tally.add({
    type: 'test:fail',
    data: { name: 's', nesting: 0, details: { type: 'suite', error } },
  })
  tally.end()
  const { passed, failures } = tally.outcome
  assert.equal(passed, 0)
  assert.deepEqual(
    failures.map(({ file, titles, message }) => [file, titles, message.split('\n')[0]]),
    [['f.test.js', ['s'], 'hook']],
  )
})

test('formatOutcome() shows some of every failure in so few lines that none pushes another out', () => {
  const message = Array.from({ length: 1000 }, (_, index) => `line ${index}`).join('\n')
  const failure = { file: 'a', titles: ['b'], message }
  const outcome = { passed: 0, skipped: 0, failures: Array.from({ length: 10 }, () => failure) }
  const lines = formatOutcome(outcome).split('\n')
  assert.ok(lines.length < 200, `${lines.length} lines`)
  for (const line of ['a › b', '    line 0', '    line 999'])
    assert.equal(lines.filter((one) => one === line).length, 10)
})

test('formatOutcome() ends in the totals', () => {
  const text = formatOutcome({ passed: 3, skipped: 0, failures: [] })
  assert.equal(text.trimEnd().split('\n').at(-1), '3 passed, 0 failed')
})
