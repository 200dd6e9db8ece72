/**
 * The process that serves a disk: `nvme-host.js DIRECTORY IMAGE QUEUES` serves one controller whose slice is the whole image,
 * which has 64 MiB or more, prints `{"socket":…}`, and ends with its standard input.
 */
import { randomUUID } from 'node:crypto'
import { statSync } from 'node:fs'
import { nvme } from '../drivers/nvme/nvme.ts'
import { Host } from '../src/host/host.ts'
import { describeError } from '../src/lib/errno.ts'
import { createLogger } from '../src/lib/log.ts'
import { SERIAL } from './nvme-disk.ts'

const MIB = 2 ** 20

async function main(root: string, image: string, queues: string): Promise<void> {
  const log = createLogger('warn')
  const host = await Host.register({ driver: nvme, log, root, settings: [['image', image]] })
  process.stdin.resume().on('close', () => host.close(log))
  const mdev = await host.create('nvme-64m', randomUUID(), [
    ['size', String(Math.floor(statSync(image).size / MIB))],
    ['serial', SERIAL],
    ['queues', queues],
  ])
  console.log(JSON.stringify({ socket: host.socketOf(mdev) }))
}

const [root, image, queues] = process.argv.slice(2)
if (root === undefined || image === undefined || queues === undefined) {
  process.stderr.write('usage: nvme-host.js DIRECTORY IMAGE QUEUES\n')
  process.exitCode = 2
} else {
  await main(root, image, queues).catch((error: unknown) => {
    process.stderr.write(`nvme host: ${describeError(error)}\n`)
    process.exit(1)
  })
}
