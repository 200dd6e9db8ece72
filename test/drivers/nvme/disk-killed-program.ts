/**
 * Writes to a slice without end, and says what it is about to write and what it has flushed, until it is killed. Beside that
 * it opens and closes other slices, so that the record is written all the time.
 */
import { writeSync } from 'node:fs'
import { openDisk } from '../../../drivers/nvme/parent.ts'
import { silentLogger } from '../../../src/lib/log.ts'
import { io, Memory, MIB, uuidOf } from './disk-guest.ts'
import { BLOCK, BLOCKS, blockContents } from './disk-killed-blocks.ts'

const [image = '', first = '1', engine = 'page cache'] = process.argv.slice(2)

const direct = engine === 'direct'
const attributes = { image, direct, flush: 'disk', slices: '' } as const
const disk = openDisk({ attributes, log: silentLogger })
const memory = new Memory()
const common = { dma: memory.dma, readOnly: false, limits: { bandwidth: 0, iops: 0 } }
const onBatch = (): void => {}

function say(...words: readonly unknown[]): void {
  writeSync(1, `${words.join(' ')}\n`)
}

async function churn(): Promise<void> {
  for (let n = 2; ; n = n === 9 ? 2 : n + 1) {
    await disk.settled(uuidOf(n))
    const slice = disk.open(uuidOf(n), { ...common, size: MIB, keep: n % 2 === 0, onBatch })
    if (n % 2 === 0) disk.keep(uuidOf(n), false)
    await slice.close()
  }
}

async function write(): Promise<void> {
  const slice = disk.open(uuidOf(1), { ...common, size: MIB, onBatch })
  for (let version = Number(first); ; version++) {
    const blocks = Array.from({ length: 8 }, () => Math.floor(Math.random() * BLOCKS))
    const chosen = [...new Set(blocks)]
    for (const block of chosen) {
      say('writes', block, version)
      memory.fill(blockContents(block, version), block * BLOCK)
    }
    const parts = chosen.map((block) => [{ iova: block * BLOCK, length: BLOCK }])
    await Promise.all(
      chosen.map((block, i) => io(slice, (done) => slice.write(block * BLOCK, parts[i]!, done))),
    )
    await io(slice, (done) => slice.flush(done))
    for (const block of chosen) say('flushed', block, version)
    say('round', version)
  }
}

await Promise.all([write(), churn()])
