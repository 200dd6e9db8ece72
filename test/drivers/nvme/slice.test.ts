/** One slice: what it moves, what it refuses, and that nothing of it lies outside. */
import assert from 'node:assert/strict'
import { readFileSync, rmSync, statSync, truncateSync, writeFileSync } from 'node:fs'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import type { Done, Slice } from '../../../drivers/nvme/disk.ts'
import { LoopDevice } from '../../support/loop-device.ts'
import { DiskSetup, io, Memory, MIB, uuidOf } from './disk-guest.ts'
import { Gate } from './disk-stage.ts'

const SECTOR = 512

function pattern(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length)
  for (let i = 0; i < length; i++) bytes[i] = ((i >> 3) * 31 + i + seed * 17) & 0xff
  return bytes
}

const block = [{ iova: 0, length: 4096 }]
/** Requests for a slice's first bytes, and for those after its first MiB. */
const first = (slice: Slice, done: Done) => slice.read(0, block, done)
const flush = (slice: Slice, done: Done) => slice.flush(done)
const beyond: ((slice: Slice, done: Done) => void)[] = [
  (slice, done) => slice.write(MIB, block, done),
  (slice, done) => slice.write(MIB - 512, block, done),
  (slice, done) => slice.zero(MIB, 4096, done),
  (slice, done) => slice.discard(MIB, 4096, done),
  (slice, done) => slice.read(MIB, block, done),
  (slice, done) => slice.readInto(MIB, new Uint8Array(512), done),
]

for (const engine of ['io_uring', 'threads'] as const) {
  describe(`a slice by ${engine}`, () => {
    test('moves bytes between its place and the guest, in many parts', async () => {
      await using setup = new DiskSetup(4, { engine })
      setup.open(1, 1)
      const slice = setup.open(2, 2)
      setup.memory.fill(pattern(MIB, 1))
      const parts = [
        { iova: 100, length: 300 },
        { iova: 5000, length: 212 },
        { iova: 8192, length: 4096 },
      ]
      await io(slice, (done) => slice.write(2 * SECTOR, parts, done))
      const expected = Buffer.concat(
        parts.map(({ iova, length }) => pattern(MIB, 1).subarray(iova, iova + length)),
      )
      const at = MIB + 2 * SECTOR
      assert.deepEqual(readFileSync(setup.path).subarray(at, at + 4608), expected)
      const whole = [{ iova: MIB, length: 4608 }]
      await io(slice, (done) => slice.read(2 * SECTOR, whole, done))
      assert.deepEqual(setup.memory.sees(4608, MIB), expected)
      const own = new Uint8Array(4608)
      await io(slice, (done) => slice.readInto(2 * SECTOR, own, done))
      assert.deepEqual(Buffer.from(own), expected)
    })

    test('reads into memory of ours, wherever that lies, past the page cache', async () => {
      await using setup = new DiskSetup(2, { engine, direct: true })
      writeFileSync(setup.path, pattern(2 * MIB, 2))
      const slice = setup.open(1, 2)
      const room = new Uint8Array(8192 + 1)
      await io(slice, (done) => slice.readInto(MIB, room.subarray(1), done))
      assert.deepEqual(Buffer.from(room.subarray(1)), pattern(2 * MIB, 2).subarray(MIB, MIB + 8192))
    })

    test('tells of a batch once, after all its ends; refusals are ends too', async () => {
      await using setup = new DiskSetup(2, { engine })
      const log: string[] = []
      const slice = setup.open(1, 1, { onBatch: () => log.push('batch') })
      const part = [{ iova: 0, length: SECTOR }]
      const ended = new Promise<void>((resolve) => {
        let left = 5
        const done: Done = (error) => {
          log.push(error?.code ?? 'done')
          if (--left === 0) setTimeout(resolve, 1)
        }
        slice.read(0, part, done)
        slice.write(MIB, part, done)
        slice.read(0, [{ iova: 2 ** 40, length: SECTOR }], done)
        slice.read(7, part, done)
        slice.read(SECTOR, part, done)
        assert.deepEqual(log, [])
        slice.submit()
      })
      await ended
      assert.equal(log.at(-1), 'batch')
      const ends = log.filter((word) => word !== 'batch').toSorted()
      assert.deepEqual(ends, ['EFAULT', 'EINVAL', 'EINVAL', 'done', 'done'])
    })

    test('close() and quiesce() end what waits for a limit, and wait for the rest', async () => {
      await using setup = new DiskSetup(2, { engine })
      const slice = setup.open(1, 1, { limits: { bandwidth: 0, iops: 10 } })
      const outcomes: string[] = []
      for (let i = 0; i < 4; i++) {
        const done: Done = (error) => outcomes.push(error?.code ?? 'done')
        slice.read(i * SECTOR, [{ iova: 0, length: SECTOR }], done)
      }
      slice.submit()
      await slice.quiesce()
      assert.deepEqual(outcomes.toSorted(), ['ECANCELED', 'ECANCELED', 'ECANCELED', 'done'])
      setup.clock.advance(10_000)
      await io(slice, (done) => slice.read(0, [{ iova: 0, length: SECTOR }], done))
      await slice.close()
      await assert.rejects(
        io(slice, (done) => slice.flush(done)),
        { code: 'ECANCELED' },
      )
    })

    for (const begin of [
      (slice: Slice, done: Done) => slice.read(MIB, block, done),
      (slice: Slice, done: Done) => slice.readInto(MIB, new Uint8Array(4096), done),
      flush,
    ])
      test(`one guest with thousands of reads under way lets another's ${begin === flush ? 'flush' : 'read'} through`, async () => {
        await using setup = new DiskSetup(4, { engine, direct: true })
        writeFileSync(setup.path, pattern(4 * MIB, 8)) // what is a hole is read at once
        using memory = new Memory()
        const greedy = setup.open(1, 2, { onBatch: () => greedy.submit() })
        const modest = setup.open(2, 2, { dma: memory.dma })
        let ends = 0
        let goesOn = true
        const readOn = (at: number): void => {
          greedy.read(at * 4096, block, (error) => {
            ends++
            if (error === undefined && goesOn) readOn((at + 7) % 512)
          })
        }
        for (let i = 0; i < 3000; i++) readOn(i % 512)
        greedy.submit()
        const before = ends
        assert.ok(before < 1000, 'thousands are under way')
        const meanwhile = await new Promise<number>((resolve, reject) => {
          begin(modest, (error) => (error === undefined ? resolve(ends - before) : reject(error)))
          modest.submit()
        })
        goesOn = false
        await greedy.quiesce()
        assert.ok(meanwhile < 1000, `${meanwhile} reads of the other ended before`)
      })

    test('what waits for a limit begins without being submitted again', async () => {
      await using setup = new DiskSetup(2, { engine })
      const slice = setup.open(1, 1, { limits: { bandwidth: SECTOR, iops: 0 } })
      const part = [{ iova: 0, length: SECTOR }]
      const ends = [1, 2, 3].map((i) => io(slice, (done) => slice.read(i * SECTOR, part, done)))
      await ends[0]
      setup.clock.advance(2100)
      await Promise.all(ends)
      slice.limit({ bandwidth: 0, iops: 0 })
      await io(slice, (done) => slice.read(0, part, done))
    })

    test('what an image that was cut under it has lost is EIO from then on, and nothing lengthens the image', async () => {
      await using setup = new DiskSetup(4, { engine })
      const below = setup.open(1, 1)
      const slice = setup.open(2, 3)
      const part = block
      await io(slice, (done) => slice.write(2 * MIB, part, done))
      await io(slice, (done) => slice.flush(done))
      truncateSync(setup.path, 2 * MIB)
      const cut = {
        code: 'EIO',
        message: /disk.img: cut to 2097152 bytes, 4194304 are in use; restore it/,
      }
      for (const begin of beyond) {
        setup.clock.advance(10)
        await assert.rejects(
          io(slice, (done) => begin(slice, done)),
          cut,
        )
      }
      await assert.rejects(
        io(slice, (done) => slice.flush(done)),
        cut,
      )
      assert.equal(statSync(setup.path).size, 2 * MIB)
      assert.equal(setup.lines.length, 1)
      assert.match(setup.lines[0]!, /^warn: slice of .*: image .*disk.img: cut to 2097152 bytes/)
      // what is left of it, and the slice that is all there, go on
      setup.memory.fill(pattern(4096, 6))
      await io(slice, (done) => slice.write(MIB - 4096, part, done))
      await io(slice, (done) => slice.read(0, part, done))
      await io(below, (done) => below.write(MIB - 4096, part, done))
      await io(below, (done) => below.flush(done))
      assert.equal(statSync(setup.path).size, 2 * MIB)
      assert.deepEqual(readFileSync(setup.path).subarray(-4096), pattern(4096, 6))
      // that it is as long as before does not bring anything back
      truncateSync(setup.path, 4 * MIB)
      setup.clock.advance(1000)
      for (const begin of [...beyond, flush])
        await assert.rejects(
          io(slice, (done) => begin(slice, done)),
          cut,
        )
      assert.equal(setup.lines.length, 1)
      await setup.closeDisk()
      const again = setup.open(2, 3)
      for (const begin of [...beyond, flush]) await io(again, (done) => begin(again, done))
    })

    test('a write that has lengthened an image again, before anybody looked, hides nothing', async () => {
      await using setup = new DiskSetup(3, { engine })
      const below = setup.open(1, 1)
      const slice = setup.open(2, 2)
      const part = block
      await io(slice, (done) => slice.write(0, part, done))
      truncateSync(setup.path, 2 * MIB)
      await io(slice, (done) => slice.write(2 * MIB - 4096, part, done))
      assert.equal(statSync(setup.path).size, 3 * MIB)
      // where the cut was is not known any more
      const unknown = { code: 'EIO', message: /disk.img: cut and written to since/ }
      for (const begin of [flush, first, ...beyond])
        await assert.rejects(
          io(slice, (done) => begin(slice, done)),
          unknown,
        )
      assert.equal(setup.lines.length, 1)
      await io(below, (done) => below.write(0, part, done))
      await io(below, (done) => below.flush(done))
    })

    test("an image that was written anew under it is not the guest's any more", async () => {
      await using setup = new DiskSetup(2, { engine })
      const slice = setup.open(1, 2)
      await io(slice, (done) => first(slice, done))
      writeFileSync(setup.path, pattern(2 * MIB, 7))
      setup.clock.advance(10)
      for (const begin of [first, flush])
        await assert.rejects(
          io(slice, (done) => begin(slice, done)),
          { code: 'EIO', message: /cut and written to since/ },
        )
      assert.deepEqual(readFileSync(setup.path), pattern(2 * MIB, 7))
    })

    test('an image is looked at again in the midst of much that is zeroed', async () => {
      await using setup = new DiskSetup(96, { engine })
      const slice = setup.open(1, 96)
      const gate = new Gate(setup.image.file)
      const zeroed = io(slice, (done) => slice.zero(0, 96 * MIB, done))
      truncateSync(setup.path, 40 * MIB)
      setup.clock.advance(10)
      gate.step()
      await assert.rejects(zeroed, { code: 'EIO', message: /cut to 41943040 bytes/ })
      assert.equal(gate.seen.length, 1)
      assert.equal(statSync(setup.path).size, 40 * MIB)
    })

    test('a slice of an image that was cut is not wiped, which would lengthen it', async () => {
      await using setup = new DiskSetup(2, { engine })
      const slice = setup.open(1, 2, { keep: false })
      truncateSync(setup.path, MIB)
      await slice.close()
      await setup.disk.settled(uuidOf(1))
      assert.equal(statSync(setup.path).size, MIB)
      assert.match(
        setup.lines.join(),
        /slice of .*: not wiped, .*: image .*disk.img: cut to 1048576/,
      )
    })

    test('an image that was deleted under it goes on, but nothing is said to be flushed', async () => {
      await using setup = new DiskSetup(2, { engine })
      const slice = setup.open(1, 1)
      const part = [{ iova: 0, length: SECTOR }]
      await io(slice, (done) => slice.write(0, part, done))
      await io(slice, (done) => slice.flush(done))
      rmSync(setup.path)
      await io(slice, (done) => slice.write(0, part, done))
      await io(slice, (done) => slice.read(0, part, done))
      await assert.rejects(
        io(slice, (done) => slice.flush(done)),
        { code: 'EIO', message: /disk.img: deleted/ },
      )
    })

    for (const direct of [false, true]) {
      test(`a block device under it (${direct ? 'direct' : 'page cache'}): moves, zeros and discards; and fails`, async () => {
        using device = new LoopDevice(4 * MIB)
        await using setup = new DiskSetup(4, { engine, path: device.path, direct })
        const slice = setup.open(1, 2)
        const other = setup.open(2, 2)
        setup.memory.fill(pattern(MIB, 3))
        const whole = [{ iova: 0, length: MIB }]
        await io(slice, (done) => slice.write(MIB, whole, done))
        await io(other, (done) => other.write(0, whole, done))
        await io(slice, (done) => slice.zero(MIB, 4096, done))
        await io(slice, (done) => slice.discard(MIB + 8192, 4096, done))
        await io(slice, (done) => slice.flush(done))
        await io(slice, (done) => slice.read(MIB, whole, done))
        const expected = pattern(MIB, 3).fill(0, 0, 4096).fill(0, 8192, 12_288)
        assert.deepEqual(setup.memory.sees(MIB), expected)
        const image = readFileSync(device.backing)
        assert.deepEqual(image.subarray(0, MIB), Buffer.alloc(MIB))
        assert.deepEqual(image.subarray(2 * MIB, 3 * MIB), pattern(MIB, 3))
        // what is under the device goes away
        truncateSync(device.backing, 0)
        setup.memory.fill(pattern(MIB, 4))
        const far = [{ iova: 0, length: 4096 }]
        await assert.rejects(
          io(other, (done) => other.read(MIB + 65_536, far, done)),
          { code: 'EIO', message: new RegExp(`${device.path}: read of 4 KiB`) },
        )
        truncateSync(device.backing, 4 * MIB)
        await io(other, (done) => other.read(MIB, far, done))
      })
    }

    test('a read-only one refuses all that changes it', async () => {
      await using setup = new DiskSetup(2, { engine })
      writeFileSync(setup.path, pattern(2 * MIB, 5))
      const slice = setup.open(1, 1, { readOnly: true })
      const part = [{ iova: 0, length: SECTOR }]
      for (const begin of [
        (done: Done) => slice.write(0, part, done),
        (done: Done) => slice.discard(0, SECTOR, done),
        (done: Done) => slice.zero(0, SECTOR, done),
      ])
        await assert.rejects(io(slice, begin), { code: 'EROFS' })
      await io(slice, (done) => slice.flush(done))
      await io(slice, (done) => slice.read(0, part, done))
      assert.deepEqual(readFileSync(setup.path), pattern(2 * MIB, 5))
    })
  })
}

/** Anything that a controller could ask for by mistake, and much that it should. */
const place = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: (4 * MIB) / SECTOR }).map((n) => n * SECTOR) },
  fc.constantFrom(-SECTOR, 0.5, MIB - 1, 2 ** 53, 2 ** 60, Number.NaN, Infinity, -Infinity),
)
const size = fc.oneof(
  { weight: 4, arbitrary: fc.integer({ min: 0, max: 64 }).map((n) => n * SECTOR) },
  { weight: 1, arbitrary: fc.constantFrom(-SECTOR, 1, 2 ** 52, 2 ** 53, Number.NaN, MIB) },
)
const request = fc.record({
  slice: fc.integer({ min: 0, max: 2 }),
  what: fc.constantFrom('read', 'write', 'discard', 'zero', 'readInto', 'flush'),
  offset: place,
  length: size,
  seed: fc.integer({ min: 0, max: 255 }),
})
type Request = typeof request extends fc.Arbitrary<infer R> ? R : never

/** Slices of 1, 2 and 1 MiB at 0, 1 and 3 MiB; of an image of 5. */
const PLACES = [
  { start: 0, size: MIB },
  { start: MIB, size: 2 * MIB },
  { start: 3 * MIB, size: MIB },
] as const

async function play(
  slice: Slice,
  memory: Memory,
  { what, offset, length, seed }: Request,
): Promise<{ error: string | undefined; read?: Buffer }> {
  const parts =
    length > 2048
      ? [
          { iova: 0, length: 1024 },
          { iova: 1024, length: length - 1024 },
        ]
      : [{ iova: 0, length }]
  const isSound = Number.isSafeInteger(length) && length >= 0 && length <= MIB
  if (isSound) memory.fill(pattern(length, seed))
  const own = new Uint8Array(isSound ? length : 0)
  try {
    await io(slice, (done) => {
      if (what === 'read') slice.read(offset, parts, done)
      else if (what === 'write') slice.write(offset, parts, done)
      else if (what === 'readInto') slice.readInto(offset, own, done)
      else if (what === 'flush') slice.flush(done)
      else slice[what](offset, length, done)
    })
  } catch (error) {
    return { error: (error as { code: string }).code }
  }
  if (what === 'read') return { error: undefined, read: memory.sees(length) }
  if (what === 'readInto') return { error: undefined, read: Buffer.from(own) }
  return { error: undefined }
}

test('whatever is asked of slices, each has its own bytes alone (byte-exact model)', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(request, { minLength: 1, maxLength: 30 }),
      fc.constantFrom('io_uring' as const, 'threads' as const),
      async (requests, engine) => {
        await using setup = new DiskSetup(5, { engine })
        const model = pattern(5 * MIB, 99)
        writeFileSync(setup.path, model)
        const slices = PLACES.map(({ size }, i) => setup.open(i + 1, size / MIB))
        for (const one of requests) {
          const { start, size } = PLACES[one.slice]!
          const { what, offset, seed } = one
          const length = what === 'flush' ? 0 : one.length
          const isInside =
            what === 'flush' ||
            (Number.isSafeInteger(offset) &&
              Number.isSafeInteger(length) &&
              offset >= 0 &&
              length >= 0 &&
              offset + length <= size &&
              offset % SECTOR === 0 &&
              length % SECTOR === 0)
          const outcome = await play(slices[one.slice]!, setup.memory, one)
          if (what === 'readInto' && !(length >= 0 && length <= MIB)) continue // it has no length of its own
          assert.equal(outcome.error, isInside ? undefined : 'EINVAL', JSON.stringify(one))
          if (!isInside || what === 'flush') continue
          const at = start + offset
          if (what === 'write') model.set(pattern(length, seed), at)
          else if (outcome.read === undefined) model.fill(0, at, at + length)
          else assert.deepEqual(outcome.read, model.subarray(at, at + length))
        }
        assert.ok(readFileSync(setup.path).equals(model), 'the image is as the model')
      },
    ),
    { numRuns: 40, endOnFailure: true },
  )
})
