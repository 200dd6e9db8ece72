/** A host that is killed while guests write: what was flushed is there, and the record of the slices is never torn. */
import assert from 'node:assert/strict'
import { createInterface } from 'node:readline'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { readRecord } from '../../../drivers/nvme/slice-record.ts'
import { ended, start } from '../../support/child.ts'
import { DiskSetup, MIB, uuidOf } from './disk-guest.ts'
import { BLOCK, BLOCKS, blockContents } from './disk-killed-blocks.ts'

const PROGRAM = fileURLToPath(new URL('disk-killed-program.js', import.meta.url))
const KILLS = 4

for (const way of ['page cache', 'direct'] as const) {
  test(`kill -9 while slices are written (${way}): everything flushed is there, nothing else is`, async () => {
    await using setup = new DiskSetup(16)
    /** By block: the last version that was flushed, and the last that was begun. */
    const flushed = new Map<number, number>()
    const begun = new Map<number, number>()
    let version = 1
    for (let kill = 0; kill < KILLS; kill++) {
      const child = start(process.execPath, [PROGRAM, setup.path, String(version), way])
      const rounds = 1 + Math.floor(Math.random() * 12)
      let seen = 0
      const lines = createInterface({ input: child.stdout! })
      lines.on('line', (line) => {
        const [what, a, b] = line.split(' ')
        if (what === 'writes') begun.set(Number(a), Number(b))
        if (what === 'flushed') flushed.set(Number(a), Number(b))
        if (what === 'round') {
          version = Number(a) + 1
          // somewhere in the round after that
          if (++seen === rounds) setTimeout(() => child.kill('SIGKILL'), Math.random() * 5)
        }
      })
      const outcome = await ended(child)
      assert.equal(outcome.signal, 'SIGKILL', outcome.stderr)
      assert.ok(seen >= rounds)
      version = Math.max(version, ...begun.values()) + 1

      const record = readRecord(setup.recordPath, 16 * MIB)
      const own = record.find(({ uuid }) => uuid === uuidOf(1))
      assert.ok(own !== undefined, 'the slice is recorded')
      const image = readFileSync(setup.path)
      for (let block = 0; block < BLOCKS; block++) {
        const at = own.offset + block * BLOCK
        const found = image.subarray(at, at + BLOCK)
        const least = flushed.get(block) ?? 0
        const most = begun.get(block) ?? 0
        const its = found.readUInt32LE(4)
        assert.ok(its >= least && its <= most, `block ${block}: ${its}, not ${least} to ${most}`)
        const expected = its === 0 ? Buffer.alloc(BLOCK) : blockContents(block, its)
        assert.ok(found.equals(expected), `block ${block} is whole`)
      }
      image.fill(0, own.offset, own.offset + BLOCKS * BLOCK)
      assert.ok(image.equals(Buffer.alloc(image.length)), 'nothing else was written')
    }
  })
}
