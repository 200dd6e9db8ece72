/** Logs of hosts: passed on with the parent's name, and bounded. */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  mkdirSync,
  openSync,
  closeSync,
  readFileSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname } from 'node:path'
import { test } from 'node:test'
import { HostLogs } from '../../src/daemon/host-logs.ts'
import { hostLog } from '../../src/host/paths.ts'
import { createLogger, type LogLevel } from '../../src/lib/log.ts'
import { Scratch } from '../support/scratch.ts'
import { until } from '../support/until.ts'

class Bench implements Disposable {
  readonly scratch = new Scratch()
  readonly path = hostLog(this.scratch.path, 'serial')
  readonly lines: string[] = []
  #told = (): void => {}
  #logs: HostLogs | undefined

  constructor() {
    mkdirSync(dirname(this.path))
    appendFileSync(this.path, 'said before\n')
  }

  start(level: LogLevel = 'info', maxFile = 10_000): void {
    const log = createLogger(level, (line) => {
      this.lines.push(line)
      this.#told()
    })
    this.#logs = new HostLogs({ root: this.scratch.path, log, maxFile })
  }

  async said(line: string): Promise<void> {
    while (!this.lines.includes(line)) await new Promise<void>((resolve) => (this.#told = resolve))
  }

  [Symbol.dispose](): void {
    this.#logs?.close()
    this.scratch[Symbol.dispose]()
  }
}

test('HostLogs passes lines on whole, with parent and level, and not what was said before', async () => {
  using bench = new Bench()
  bench.start()
  appendFileSync(bench.path, 'hello\nwarn: mdev 1: b')
  await bench.said('parent serial: hello')
  appendFileSync(bench.path, 'ad ü\nerror: worse\ndebug: detail\n')
  await bench.said('error: parent serial: worse')
  assert.deepEqual(bench.lines, [
    'parent serial: hello',
    'warn: parent serial: mdev 1: bad ü',
    'error: parent serial: worse',
  ])
})

test('HostLogs passes on only what the daemon itself would say', async () => {
  using bench = new Bench()
  bench.start('warn')
  appendFileSync(bench.path, 'hello\nwarn: bad\n')
  await bench.said('warn: parent serial: bad')
  assert.deepEqual(bench.lines, ['warn: parent serial: bad'])
})

test('HostLogs bounds a log under the feet of its host, and what it passes on at a time', async () => {
  using bench = new Bench()
  bench.start('info', 10_000)
  const fd = openSync(bench.path, 'a') // as its host has it
  writeSync(fd, 'x'.repeat(9_000) + '\n')
  await bench.said(`parent serial: ${'x'.repeat(9_000)}`)
  writeSync(fd, `${'y'.repeat(99)}\n`.repeat(2_000))
  await until(() => assert.equal(statSync(bench.path).size, 0))
  writeSync(fd, 'again\n')
  closeSync(fd)
  await bench.said('parent serial: again')
  assert.equal(readFileSync(bench.path, 'utf8'), 'again\n')
  assert.equal(statSync(`${bench.path}.1`).size, 12 + 9_001 + 200_000)
  assert.ok(bench.lines.some((line) => /^warn: parent serial: \d+ bytes more in /.test(line)))
  assert.ok(bench.lines.length < 700)
})
