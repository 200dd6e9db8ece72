/** Transfers between files and client memory that are queued: by each engine, and to memory of each kind. */
import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import { Container } from '../../src/iommu/container.ts'
import type { GuestMemory } from '../../src/iommu/guest-memory.ts'
import type { Segment } from '../../src/iommu/segments.ts'
import { AsyncFile } from '../../src/os/async-file.ts'
import { Guest, GUEST_PAGES, START, WAYS } from '../support/guest.ts'
import { Scratch } from '../support/scratch.ts'
import { BusyThreadPool } from '../support/thread-pool.ts'

const PAGE = 4096
const SIZE = GUEST_PAGES * PAGE

function pattern(length: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => ((i * 7 + seed * 13) % 251) + 1))
}

/** A guest beside a disk of `contents`. */
class Setup implements AsyncDisposable {
  readonly guest: Guest
  readonly scratch = new Scratch()
  readonly path: string
  readonly file: AsyncFile

  constructor(
    contents: Uint8Array,
    options: ConstructorParameters<typeof AsyncFile>[1],
    rights?: ConstructorParameters<typeof Guest>[0],
  ) {
    this.guest = new Guest(rights)
    this.path = this.scratch.write('disk', '')
    writeFileSync(this.path, contents)
    this.file = new AsyncFile(this.path, options)
  }

  get memory(): GuestMemory {
    return this.guest.memory
  }

  fromFile(list: readonly Segment[], position: number): Promise<void> {
    return this.#wait((done) => this.memory.queueFromFile(list, this.file, position, done))
  }

  toFile(list: readonly Segment[], position: number): Promise<void> {
    return this.#wait((done) => this.memory.queueToFile(list, this.file, position, done))
  }

  #wait(begin: (done: (error?: Error) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      begin((error) => (error === undefined ? resolve() : reject(error)))
      this.file.submit()
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.file.close()
    this.guest[Symbol.dispose]()
    this.scratch[Symbol.dispose]()
  }
}

for (const engine of ['io_uring', 'threads'] as const) {
  describe(`queued file I/O by ${engine}`, () => {
    for (const way of WAYS) {
      test(`moves bytes into and out of memory by ${way}`, async () => {
        await using setup = new Setup(pattern(4 * PAGE), { engine })
        const list = [
          { iova: START[way] + PAGE, length: PAGE + 3 },
          { iova: START[way] + 7, length: 0 },
          { iova: START[way] + 1, length: 100 },
        ]
        await setup.fromFile(list, 5)
        const expected = pattern(4 * PAGE).subarray(5, PAGE + 108)
        assert.deepEqual(setup.guest.sees(way, PAGE, PAGE + 3), expected.subarray(0, PAGE + 3))
        assert.deepEqual(setup.guest.sees(way, 1, 100), expected.subarray(PAGE + 3))
        await setup.toFile(list, 2 * PAGE + 1)
        const start = 2 * PAGE + 1
        const contents = readFileSync(setup.path)
        assert.deepEqual(contents.subarray(start, start + PAGE + 103), expected)
        assert.deepEqual(contents.subarray(0, start), pattern(4 * PAGE).subarray(0, start))
      })
    }

    test('goes over maps of several kinds', async () => {
      await using setup = new Setup(pattern(3 * SIZE), { engine })
      const list = [{ iova: START.mapped, length: 3 * SIZE }]
      await setup.fromFile(list, 0)
      for (const [i, way] of WAYS.entries()) {
        const expected = pattern(3 * SIZE).subarray(i * SIZE, (i + 1) * SIZE)
        assert.deepEqual(setup.guest.sees(way, 0, SIZE), expected)
      }
      writeFileSync(setup.path, Buffer.alloc(3 * SIZE))
      await setup.toFile(list, 0)
      assert.deepEqual(readFileSync(setup.path), pattern(3 * SIZE))
    })

    test('goes through a buffer where the memory is not aligned as the file wants it', async () => {
      await using setup = new Setup(pattern(4 * PAGE), { engine, direct: true })
      const list = [
        { iova: START.mapped + 4, length: 1000 },
        { iova: START.mapped + 2000, length: PAGE - 1000 },
      ]
      await setup.fromFile(list, PAGE)
      const expected = pattern(4 * PAGE).subarray(PAGE, 2 * PAGE)
      assert.deepEqual(setup.guest.sees('mapped', 4, 1000), expected.subarray(0, 1000))
      assert.deepEqual(setup.guest.sees('mapped', 2000, PAGE - 1000), expected.subarray(1000))
      await setup.toFile(list, 0)
      assert.deepEqual(readFileSync(setup.path).subarray(0, PAGE), expected)
    })

    test('more than one buffer at a time, and more transfers than there are buffers', async () => {
      await using setup = new Setup(pattern(40 * PAGE), { engine })
      const list = Array.from({ length: 300 }, () => ({ iova: START.message, length: SIZE }))
      const big = pattern(300 * SIZE, 3)
      writeFileSync(setup.path, big)
      await setup.fromFile(list, 0) // 4.7 MiB, each over the one before
      assert.deepEqual(setup.guest.sees('message', 0, SIZE), big.subarray(299 * SIZE))
      const reads = Array.from({ length: 100 }, (_, i) =>
        setup.toFile([{ iova: START.message, length: SIZE }], i * SIZE),
      )
      await Promise.all(reads)
      const last = big.subarray(299 * SIZE)
      assert.deepEqual(readFileSync(setup.path).subarray(99 * SIZE, 100 * SIZE), last)
    })

    test('refuses a list that is not all mapped before anything is queued', async () => {
      await using setup = new Setup(pattern(PAGE), { engine })
      const end = START.message + SIZE
      const lists: readonly (readonly Segment[])[] = [
        [{ iova: end - 8, length: 9 }],
        [
          { iova: START.mapped, length: 8 },
          { iova: end, length: 1 },
        ],
      ]
      for (const list of lists) {
        await assert.rejects(setup.fromFile(list, 0), { code: 'EFAULT' })
        await assert.rejects(setup.toFile(list, 0), { code: 'EFAULT' })
      }
      const good = [{ iova: START.mapped, length: 8 }]
      for (const position of [-1, 0.5, 2 ** 53, Number.NaN])
        await assert.rejects(setup.fromFile(good, position), { code: 'EINVAL' })
      for (const length of [-1, 0.5, Number.NaN])
        await assert.rejects(setup.fromFile([{ iova: START.mapped, length }], 0), {
          code: 'EINVAL',
        })
      assert.deepEqual(setup.guest.sees('mapped', 0, 8), Buffer.alloc(8))
      assert.equal(setup.guest.container.unmap(START.mapped, SIZE), SIZE) // at once: nothing holds it
    })

    test('refuses what the rights of the maps do not grant', async () => {
      await using readable = new Setup(
        pattern(PAGE),
        { engine },
        { readable: true, writable: false },
      )
      await using writable = new Setup(
        pattern(PAGE),
        { engine },
        { readable: false, writable: true },
      )
      const list = [{ iova: START.mapped, length: 8 }]
      await assert.rejects(readable.fromFile(list, 0), { code: 'EACCES' })
      await readable.toFile(list, 0)
      await assert.rejects(writable.toFile(list, 0), { code: 'EACCES' })
      await writable.fromFile(list, 0)
    })

    test('the file that ends early is EIO', async () => {
      await using setup = new Setup(pattern(PAGE), { engine })
      for (const way of WAYS) {
        const list = [{ iova: START[way], length: PAGE }]
        await assert.rejects(setup.fromFile(list, 8), { code: 'EIO' })
      }
    })

    test('an unmap waits for what is under way, and then it is over', async () => {
      await using setup = new Setup(pattern(PAGE), { engine, direct: true })
      const { guest, file } = setup
      let ended = false
      const done = () => (ended = true)
      setup.memory.queueFromFile([{ iova: START.mapped, length: PAGE }], file, 0, done)
      const unmapped = guest.container.unmap(START.mapped, SIZE)
      assert.ok(unmapped instanceof Promise)
      await assert.rejects(setup.fromFile([{ iova: START.mapped, length: 8 }], 0), {
        code: 'EFAULT',
      })
      assert.equal(ended, false)
      file.submit()
      assert.equal(await unmapped, SIZE)
      assert.equal(ended, true)
      assert.deepEqual(guest.sees('mapped', 0, PAGE), pattern(PAGE))
    })

    test('a client that goes takes nothing away from under what is under way', async () => {
      await using setup = new Setup(pattern(PAGE), { engine, direct: true })
      const { guest } = setup
      const transfer = setup.fromFile([{ iova: START.mapped, length: PAGE }], 0)
      guest.container.close()
      await transfer
      assert.deepEqual(guest.sees('mapped', 0, PAGE), pattern(PAGE))
    })

    test('what is written is in the log of the client, and nothing else is', async () => {
      await using setup = new Setup(pattern(4 * PAGE), { engine })
      const { container } = setup.guest
      container.dirtyLog.start([], PAGE)
      await setup.fromFile([{ iova: START.mapped + PAGE + 8, length: 8 }], 0)
      await setup.toFile([{ iova: START.mapped + 3 * PAGE, length: 8 }], 0)
      const bitmap = new Uint8Array(8)
      container.takeDirty(START.mapped, SIZE, PAGE, bitmap)
      assert.equal(bitmap[0], 0b10)
    })
  })
}

test('queued file I/O by threads ends only once a thread has done it, and the map stays so long', async () => {
  await using setup = new Setup(pattern(PAGE), { engine: 'threads', direct: true })
  using pool = new BusyThreadPool()
  const transfer = setup.toFile([{ iova: START.mapped, length: PAGE }], 0)
  const unmapped = setup.guest.container.unmap(START.mapped, SIZE)
  assert.ok(unmapped instanceof Promise)
  let gone = false
  void unmapped.then(() => (gone = true))
  await new Promise(setImmediate)
  assert.equal(gone, false)
  await pool.release()
  await transfer
  assert.equal(await unmapped, SIZE)
})

test('a client that does not answer for its memory holds up nobody else', async () => {
  using scratch = new Scratch()
  const file = new AsyncFile(scratch.write('disk', pattern(4 * PAGE)))
  let release = (): void => {}
  const released = new Promise<void>((resolve) => (release = resolve))
  const silent = new Container({
    maxMaps: 1,
    remote: { read: async () => released, write: async () => released },
  })
  const written = Buffer.alloc(PAGE)
  const other = new Container({
    maxMaps: 1,
    remote: { read: async () => {}, write: async (iova, bytes) => written.set(bytes, iova) },
  })
  for (const container of [silent, other])
    container.map({ iova: 0, size: PAGE, readable: true, writable: true })
  const list = [{ iova: 0, length: PAGE }]
  const move = (container: Container) =>
    new Promise<void>((resolve, reject) => {
      const done = (error?: Error) => (error === undefined ? resolve() : reject(error))
      container.memory.queueFromFile(list, file, PAGE, done)
      file.submit()
    })
  const waiting = Array.from({ length: 100 }, async () => move(silent))
  await move(other)
  assert.deepEqual(written, pattern(4 * PAGE).subarray(PAGE, 2 * PAGE))
  release()
  await Promise.all(waiting)
  await file.close()
  silent.close()
  other.close()
})
