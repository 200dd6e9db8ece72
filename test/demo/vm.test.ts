/** The demo with a VM, as a process: a stock guest, its own driver, and nothing left behind. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { prepareVm } from '../../vm/prepare.ts'
import { until } from '../support/until.ts'
import { DemoRun, isQemu, runDemo } from './demo-run.ts'

await prepareVm({ onProgress: (line) => process.stderr.write(`${line}\n`) })

test('demo boots a guest whose own driver talks through the card, beside another demo', async () => {
  const [{ status, stdout, stderr, left }, other] = await Promise.all([
    runDemo([]),
    runDemo(['--no-vm']),
  ])
  assert.equal(stderr, '')
  assert.equal(status, 0)
  assert.match(stdout, /\n {3}qemu +\d+\.\d+/)
  assert.match(
    stdout,
    /: ttyS1 at I\/O 0x[0-9a-f]+ .* is a 16550A\n.*: ttyS2 at I\/O 0x[0-9a-f]+ .* is a 16550A\n/,
  )
  assert.match(
    stdout,
    /\n {3}driver .*\/bus\/pci\/drivers\/serial\n {3}module .*\/module\/8250_pci\n/,
  )
  assert.match(stdout, /\n {3}port 0 > \$ uname -sr\n {3}port 0 < Linux \d/)
  assert.match(stdout, /\n {3}1000 lines in each direction on both ports, byte for byte/)
  const accesses = /\n {3}register accesses +([\d,]+) /.exec(stdout)?.[1]?.replaceAll(',', '')
  assert.ok(Number(accesses) > 50_000, `${accesses} register accesses`)
  assert.match(stdout, /\n {3}interrupts +[1-9]/)
  assert.match(stdout, /\n {3}DMA maps +[1-9]/)
  assert.deepEqual(left, [])
  assert.deepEqual([other.status, other.stderr], [0, ''])
  assert.deepEqual(other.left, [])

  const [, commandLine] = /QEMU was run as:\n([^]*?)\n\n/.exec(stdout) ?? []
  const words = execFileSync('/bin/sh', ['-c', String.raw`printf '%s\n' ${commandLine}`])
  const socket = /socket {2}(\/.*)\n/.exec(stdout)?.[1]
  const device = { driver: 'vfio-user-pci', socket: { type: 'unix', path: socket } }
  assert.ok(words.toString().endsWith(`\n-device\n${JSON.stringify(device)}\n`), commandLine)
})

test('demo ended by SIGINT while the guest is up exits 130 and leaves nothing behind', async () => {
  await using run = new DemoRun([])
  await run.stdout.waitFor(/port 0 > \$ uname/)
  const { status, left } = await run.stop('SIGINT')
  assert.equal(status, 130)
  assert.deepEqual(left, [])
  assert.deepEqual(run.processes, [])
})

test('demo killed while the guest boots leaves nothing behind either', async () => {
  await using run = new DemoRun([])
  await run.stdout.waitFor(/A guest with the mdev/)
  await until(() => run.processes.some(isQemu), 'QEMU to run')
  await run.stop('SIGKILL')
  await until(() => assert.deepEqual([run.left, run.processes], [[], []]))
})

test('demo killed when there is no more of the guest than its directory leaves nothing behind', async () => {
  await using run = new DemoRun([])
  const isThere = () => run.left.some((name) => name.startsWith('mdevkit-guest-'))
  await until(isThere, 'a directory for the guest', { pauseMs: 1 })
  await run.stop('SIGKILL')
  await until(() => assert.deepEqual([run.left, run.processes], [[], []]))
})

test('demo fails with 1 when QEMU ends', async () => {
  await using run = new DemoRun([])
  await run.stdout.waitFor(/port 0 > \$ uname/)
  const qemu = run.processes.find(isQemu)
  assert.ok(qemu !== undefined, 'no QEMU is running')
  process.kill(qemu.pid, 'SIGKILL')
  const { status, stderr, left } = await run.ended
  assert.equal(status, 1)
  assert.match(stderr, /^\ndemo failed: EPIPE: QEMU has ended/)
  assert.deepEqual(left, [])
})
