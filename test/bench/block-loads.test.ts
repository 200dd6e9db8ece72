/** Loads of disks: what they count is what they have moved, in whichever way. */
import assert from 'node:assert/strict'
import { closeSync, openSync, readSync } from 'node:fs'
import { before, describe, test } from 'node:test'
import { BLOCK_SIZE, type BlockAccess, type BlockLoad } from '../../bench/block-load.ts'
import { compileC } from '../../bench/c-programs.ts'
import { Child } from '../../bench/child.ts'
import { PagePlaces } from '../../bench/dma-places.ts'
import { FileLoad } from '../../bench/file-load.ts'
import { makeImage, type NvmeHost, startNvmeHost } from '../../bench/nvme-disk.ts'
import { NvmeLoad } from '../../bench/nvme-load.ts'
import type { Bench } from '../../bench/part.ts'
import { Running } from '../../bench/server.ts'
import { Scratch } from '../support/scratch.ts'
import { smallBench } from './support.ts'

const MIB = 2 ** 20
/** What the smallest type has. */
const SIZE_MIB = 64
const SIZE = SIZE_MIB * MIB
const MS = 20
const MADE = Buffer.alloc(BLOCK_SIZE, 0x5a)
const WRITTEN = Buffer.alloc(BLOCK_SIZE, 0xa5)

/** An image that was just made, and a host that serves it. */
class Stage implements AsyncDisposable {
  readonly #scratch = new Scratch()
  readonly #running = new Running()
  readonly image = makeImage(this.#scratch.path, 'image', SIZE_MIB)
  readonly bench: Bench = smallBench(this.#scratch)

  async host(): Promise<NvmeHost> {
    return startNvmeHost(this.bench, this.#running, this.bench.allowed, this.image)
  }

  async c(): Promise<Child> {
    const program = compileC('blocks', this.#scratch.path)
    return this.#running.add(await Child.start('blocks', this.bench.allowed, [program, this.image]))
  }

  /** Which blocks are not as they were made. */
  written(): number[] {
    const fd = openSync(this.image, 'r')
    try {
      const block = Buffer.alloc(BLOCK_SIZE)
      const found: number[] = []
      for (let index = 0; index < SIZE / BLOCK_SIZE; index++) {
        assert.equal(readSync(fd, block, 0, BLOCK_SIZE, index * BLOCK_SIZE), BLOCK_SIZE)
        if (block.equals(WRITTEN)) found.push(index)
        else assert.ok(block.equals(MADE), `block ${index}`)
      }
      return found
    } finally {
      closeSync(fd)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#running[Symbol.asyncDispose]()
    this.#scratch[Symbol.dispose]()
  }
}

/** The blocks that so many accesses are of. */
function expected(count: number): number[] {
  const places = new PagePlaces(SIZE, BLOCK_SIZE)
  const blocks = new Set(Array.from({ length: count }, () => places.next() / BLOCK_SIZE))
  return [...blocks].toSorted((a, b) => a - b)
}

type Open = (stage: Stage, access: BlockAccess, depth: number) => Promise<BlockLoad>

const WAYS: Readonly<Record<string, Open>> = {
  file: async ({ image }, access, depth) => new FileLoad(image, { access, depth, size: SIZE }),
  eventfd: async (stage, access, depth) =>
    NvmeLoad.attach((await stage.host()).socket, { access, depth, size: SIZE }, false),
  memory: async (stage, access, depth) =>
    NvmeLoad.attach((await stage.host()).socket, { access, depth, size: SIZE }, true),
}

for (const [way, open] of Object.entries(WAYS)) {
  for (const depth of [1, 32]) {
    test(`a load by ${way}, ${depth} under way, writes as many blocks as it counts`, async () => {
      await using stage = new Stage()
      await using load = await open(stage, 'write', depth)
      const { count, ms, rings } = await load.run(MS)
      assert.ok(count >= depth && ms >= MS, `${count} in ${ms} ms`)
      assert.deepEqual(stage.written(), expected(count))
      if (way === 'file') assert.equal(rings, 0)
      else if (way === 'eventfd' && depth === 1) assert.equal(rings, 2 * count)
      else assert.ok(rings > 0 && rings <= 2 * count, `${rings} rings for ${count}`)
    })
  }

  test(`a load by ${way} that reads writes nothing, and can go on`, async () => {
    await using stage = new Stage()
    await using load = await open(stage, 'read', 8)
    for (let i = 0; i < 2; i++) assert.ok((await load.run(MS)).count >= 8)
    assert.deepEqual(stage.written(), [])
  })
}

test('blocks.c writes as many blocks as it counts, at the same places', async () => {
  await using stage = new Stage()
  const c = await stage.c()
  c.send(`read ${MS}`)
  const reads = await c.next<{ count: number; ms: number }>()
  assert.ok(reads.ms >= MS)
  assert.deepEqual(stage.written(), [])
  await c.end()
  const writer = await stage.c()
  writer.send(`write ${MS}`)
  const { count } = await writer.next<{ count: number }>()
  assert.deepEqual(stage.written(), expected(count))
})

describe('a load that fails', () => {
  let options: { access: BlockAccess; depth: number; size: number }
  before(() => (options = { access: 'read', depth: 4, size: SIZE }))

  test('says which status a block got', async () => {
    await using stage = new Stage()
    const { socket } = await stage.host()
    await using load = await NvmeLoad.attach(socket, { ...options, size: 64 * SIZE }, false)
    await assert.rejects(load.run(60_000), { code: 'EIO', message: 'nvme: opcode 2: status 0x80' })
  })

  test('hears of it when the host goes', async () => {
    await using stage = new Stage()
    const { socket, child } = await stage.host()
    await using load = await NvmeLoad.attach(socket, options, true)
    const run = load.run(60_000)
    process.kill(child.pid, 'SIGKILL')
    await assert.rejects(run, { code: 'ECONNRESET' })
  })

  test('takes no more than fits its queue', async () => {
    await assert.rejects(NvmeLoad.attach('/nowhere', { ...options, depth: 256 }, false), {
      code: 'EINVAL',
      message: /^depth 256:/,
    })
  })

  test('has a file that is shorter than it was said to be', async () => {
    await using stage = new Stage()
    await using load = new FileLoad(stage.image, { ...options, size: 64 * SIZE })
    await assert.rejects(load.run(60_000), { code: 'EIO', message: /ends before it/ })
  })
})
