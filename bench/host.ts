/**
 * The host that is measured: `host.js DIRECTORY COUNT TYPE [--block]` serves COUNT mdevs of one of the types of
 * bench-driver.ts, prints `{"sockets":[…]}`, answers `heap` with a HeapReport, and ends with its standard input. With
 * `--block` it never polls.
 */
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Host } from '../src/host/host.ts'
import { describeError } from '../src/lib/errno.ts'
import { createLogger } from '../src/lib/log.ts'
import { Reactor } from '../src/os/reactor.ts'
import { NEVER_SPIN } from '../src/os/spin-policy.ts'
import { benchDriver } from './bench-driver.ts'
import { watchHeap } from './heap-report.ts'

async function main(root: string, count: number, type: string, blocks: boolean): Promise<void> {
  const log = createLogger('warn')
  const reactor = blocks ? { reactor: new Reactor(undefined, NEVER_SPIN) } : {}
  const host = new Host({ driver: benchDriver, log, root, ...reactor })
  const heap = watchHeap()
  createInterface({ input: process.stdin })
    .on('line', (line) => {
      if (line === 'heap') void heap().then((report) => console.log(JSON.stringify(report)))
    })
    .on('close', () => host.close(log))
  const sockets: string[] = []
  for (let i = 0; i < count; i++) {
    sockets.push(host.socketOf(await host.create(`bench-${type}`, randomUUID())))
  }
  console.log(JSON.stringify({ sockets }))
}

const [root, count, type = 'registers', flag] = process.argv.slice(2)
if (root === undefined || count === undefined) {
  process.stderr.write('usage: host.js DIRECTORY COUNT [TYPE [--block]]\n')
  process.exitCode = 2
} else {
  await main(root, Number(count), type, flag === '--block').catch((error: unknown) => {
    process.stderr.write(`bench host: ${describeError(error)}\n`)
    process.exit(1)
  })
}
