/** The demo without a VM, as a process: what it shows, how it ends, and what it leaves behind. */
import assert from 'node:assert/strict'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'
import { DemoRun, runDemo } from './demo-run.ts'

const SUCCESS = /\n {3}1000 lines in each direction on both ports, byte for byte, in [\d.]+ s\n/

/** The numbers of its summary, by name. */
function summaryOf(stdout: string): Record<string, number> {
  const rows = stdout.matchAll(/^ {3}(register accesses|interrupts|DMA maps) +([\d,]+)/gm)
  return Object.fromEntries(
    [...rows].map(([, name, value]) => [name, Number(value?.replaceAll(',', ''))]),
  )
}

test('demo --no-vm talks through both ports, sums up and exits 0', async () => {
  const { status, stdout, stderr, left } = await runDemo(['--no-vm'])
  assert.equal(stderr, '')
  assert.equal(status, 0)
  assert.match(
    stdout,
    /\n {3}parent mtty\n {3}├─ mtty-1 .* 22\n {3}└─ mtty-2 .* 11\n {6}└─ [-0-9a-f]{36}\n/,
  )
  assert.match(
    stdout,
    /\n {9}├─ group   0\n {9}├─ socket  \/.*\/cntrl\n {9}├─ port0   \/dev\/pts\/\d+\n/,
  )
  assert.match(stdout, /\n {3}port 0 < 00:00\.0 0700: 4348:3253 \(rev 10\)\n/)
  assert.match(stdout, SUCCESS)
  const numbers = summaryOf(stdout)
  assert.equal(numbers['DMA maps'], 1)
  assert.ok(numbers['register accesses']! > 50_000, `${numbers['register accesses']} accesses`)
  assert.ok(numbers['interrupts']! > 100, `${numbers['interrupts']} interrupts`)
  assert.match(stdout, /\n {3}median access +\d+\.\d us, as the server saw it\n/)
  assert.match(stdout, /\n {3}npx mdevkit run mtty/)
  assert.ok(!stdout.includes('\x1b'), 'no colour where there is no terminal')
  assert.deepEqual(left, [])
})

test('demo --no-vm --verbose shows a thousand lines a port and direction, each answer behind its line', async () => {
  const { status, stdout, stderr } = await runDemo(['--no-vm', '--verbose'])
  assert.equal(stderr, '')
  assert.equal(status, 0)
  for (const port of [0, 1]) {
    const said = [...stdout.matchAll(new RegExp(`^ {3}port ${port} ([<>]) (.*)$`, 'gm'))]
    const typed = said.filter(([, way, line]) => way === '>' && !line!.startsWith('$ '))
    const answers = said.filter(([, way, line]) => way === '<' && /^\d+: /.test(line!))
    assert.equal(typed.length, 1000)
    assert.deepEqual(
      answers.map(([, , line]) => line),
      typed.map(([, , line], index) => `${index + 1}: ${line}`),
    )
    assert.ok(new Set(typed.map(([, , line]) => line)).size > 900, 'the lines are random')
  }
})

test('demo where there is neither QEMU nor apt says so, and does it without a VM', async () => {
  using scratch = new Scratch()
  for (const program of ['sh', 'cat', 'rm', 'mkdir'])
    symlinkSync(`/bin/${program}`, join(scratch.path, program))
  const { status, stdout, stderr, left } = await runDemo([], {
    PATH: scratch.path,
    MDEVKIT_CACHE: join(scratch.path, 'cache'),
  })
  assert.equal(stderr, '')
  assert.equal(status, 0)
  assert.match(
    stdout,
    /\n {3}no VM can run here: apt-get: not found; .*\n {3}So this is the demo without one/,
  )
  assert.match(stdout, SUCCESS)
  assert.deepEqual(left, [])
})

for (const [signal, code] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const) {
  test(`demo --no-vm ended by ${signal} exits ${code} and leaves nothing behind`, async () => {
    await using run = new DemoRun(['--no-vm'])
    await run.stdout.waitFor(/port 0 {3}… 250/)
    const { status, stderr, left } = await run.stop(signal)
    assert.equal(status, code)
    assert.equal(stderr, `\ndemo: ended by ${signal}; nothing is left behind\n`)
    assert.deepEqual(left, [])
    assert.deepEqual(run.processes, [])
  })
}

test('demo --no-vm killed leaves nothing behind either', async () => {
  await using run = new DemoRun(['--no-vm'])
  await run.stdout.waitFor(/port 0 {3}… 250/)
  assert.equal((await run.stop('SIGKILL')).status, 'SIGKILL')
  await until(() => assert.deepEqual([run.left, run.processes], [[], []]))
})

test('demo --no-vm ends when nobody reads what it says', async () => {
  await using run = new DemoRun(['--no-vm', '--verbose'])
  await run.stdout.waitFor(/port 0 < 100: /)
  run.closeStdout()
  const { status, left } = await run.ended
  assert.equal(status, 141)
  assert.deepEqual(left, [])
})

test('demo refuses an unknown option with 2 and its usage', async () => {
  for (const args of [['--novm'], ['no-vm'], ['--verbose=1']]) {
    const { status, stdout, stderr } = await runDemo(args)
    assert.equal(status, 2)
    assert.equal(stdout, '')
    assert.match(stderr, /^demo: .*\nusage: npm run demo -- \[options\]\n/)
  }
})

test('demo --help shows its usage', async () => {
  const { status, stdout } = await runDemo(['--help'])
  assert.equal(status, 0)
  assert.match(stdout, /^usage: npm run demo -- \[options\]\n {2}--no-vm /)
})
