/**
 * The process in which mdevkit's side of guest memory is measured: `dma-host.js DIRECTORY` serves one device and prints
 * `{"socket":…}`. Then it reads lines: what memory the guest has, as `PATH SIZE`, and jobs, each as `BATCHES JOB …`, which it
 * does and answers (see dma-jobs.ts). It ends with its standard input.
 */
import { randomUUID } from 'node:crypto'
import { createInterface } from 'node:readline'
import { Host } from '../src/host/host.ts'
import type { Dma } from '../src/index.ts'
import { describeError, ErrnoError } from '../src/lib/errno.ts'
import { createLogger } from '../src/lib/log.ts'
import { dmaDriver } from './dma-driver.ts'
import { type GuestMemory, JOBS } from './dma-jobs.ts'

async function main(root: string): Promise<void> {
  const log = createLogger('error') // it warns of memory without a file, which is what is measured
  const probed: Dma[] = []
  const host = new Host({ driver: dmaDriver((dma) => probed.push(dma)), log, root })
  const mdev = await host.create('dma-1', randomUUID())
  console.log(JSON.stringify({ socket: host.socketOf(mdev) }))
  let guest: GuestMemory | undefined
  for await (const line of createInterface({ input: process.stdin })) {
    const words = line.split(' ')
    if (guest === undefined) {
      const [path, size] = words as [string, string]
      guest = { dma: probed[0]!, path, size: Number(size) }
    } else console.log(JSON.stringify(await doJob(guest, words)))
  }
  host.close(log)
}

async function doJob(guest: GuestMemory, words: readonly string[]): Promise<object> {
  const [batches, name = '', ...rest] = words
  const job = JOBS[name]
  if (job === undefined) throw new ErrnoError('EINVAL', `${name}: no such job`)
  return job(guest, Number(batches), rest)
}

const [root] = process.argv.slice(2)
if (root === undefined) {
  process.stderr.write('usage: dma-host.js DIRECTORY\n')
  process.exitCode = 2
} else {
  await main(root).catch((error: unknown) => {
    process.stderr.write(`dma host: ${describeError(error)}\n`)
    process.exit(1)
  })
}
