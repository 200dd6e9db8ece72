/**
 * The process that loads disks: for each line `WAY PATH SIZE ACCESS DEPTH` on its standard input it gets ready, and prints
 * `{"ready":true}`; for the line `MS` that comes then it goes on for so long, and prints BlockFigures. WAY is `file`, or how the
 * controller at the socket PATH is rung: `eventfd`, or `memory` first.
 */
import { createInterface } from 'node:readline'
import { describeError, ErrnoError } from '../src/lib/errno.ts'
import { BLOCK_ACCESSES, type BlockLoad } from './block-load.ts'
import { FileLoad } from './file-load.ts'
import { NvmeLoad } from './nvme-load.ts'

async function main(): Promise<void> {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  for (;;) {
    const line = await lines.next()
    if (line.done) return
    await using load = await open(line.value.split(' '))
    console.log(JSON.stringify({ ready: true }))
    const go = await lines.next()
    if (go.done) return
    console.log(JSON.stringify(await load.run(Number(go.value))))
  }
}

/** @throws EINVAL no such way, no such access · what the load says */
async function open(words: readonly string[]): Promise<BlockLoad> {
  const [way, path = '', size, name, depth] = words
  const access = BLOCK_ACCESSES.find((each) => each === name)
  if (access === undefined) throw new ErrnoError('EINVAL', `${name}: neither read nor write`)
  const options = { access, depth: Number(depth), size: Number(size) }
  switch (way) {
    case 'file':
      return new FileLoad(path, options)
    case 'eventfd':
    case 'memory':
      return NvmeLoad.attach(path, options, way === 'memory')
    default:
      throw new ErrnoError('EINVAL', `${way}: no such way`)
  }
}

await main().catch((error: unknown) => {
  process.stderr.write(`block loads: ${describeError(error)}\n`)
  process.exit(1)
})
