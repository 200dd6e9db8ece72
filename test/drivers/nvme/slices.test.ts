/** Slices of an image: their places, their record, and what becomes of their bytes. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import {
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { describe, test } from 'node:test'
import { openDisk } from '../../../drivers/nvme/parent.ts'
import { silentLogger } from '../../../src/lib/log.ts'
import { openFds } from '../../support/fds.ts'
import { Scratch } from '../../support/scratch.ts'
import { LoopDevice } from '../../support/loop-device.ts'
import { DiskSetup, io, MIB, uuidOf } from './disk-guest.ts'

const whole = [{ iova: 0, length: MIB }]

function recordOf(
  setup: DiskSetup,
): { uuid: string; offset: number; size: number; state: string }[] {
  return JSON.parse(readFileSync(setup.recordPath, 'utf8')).slices
}

describe('slices', () => {
  test('are placed first fit, recorded, and there again after a restart', async () => {
    await using setup = new DiskSetup(10)
    const first = setup.open(1, 4)
    const second = setup.open(2, 2)
    assert.equal(setup.disk.free, 4 * MIB)
    setup.memory.fill(Buffer.alloc(MIB, 0xaa))
    await io(first, (done) => first.write(3 * MIB, whole, done))
    setup.memory.fill(Buffer.alloc(MIB, 0xbb))
    await io(second, (done) => second.write(0, whole, done))
    assert.deepEqual(
      recordOf(setup).map(({ uuid, offset, size }) => ({ uuid, offset, size })),
      [
        { uuid: uuidOf(1), offset: 0, size: 4 * MIB },
        { uuid: uuidOf(2), offset: 4 * MIB, size: 2 * MIB },
      ],
    )
    await setup.closeDisk()
    const again = setup.open(2, 2)
    await io(again, (done) => again.read(0, whole, done))
    assert.deepEqual(setup.memory.sees(MIB), Buffer.alloc(MIB, 0xbb))
    assert.deepEqual(readFileSync(setup.path).subarray(3 * MIB, 4 * MIB), Buffer.alloc(MIB, 0xaa))
  })

  test('available() counts what fits, and the slices of mdevs that are not there now', async () => {
    await using setup = new DiskSetup(10)
    const { disk } = setup
    assert.equal(disk.available(3 * MIB), 3)
    const slice = setup.open(1, 3)
    setup.open(2, 6)
    assert.equal(disk.available(3 * MIB), 0)
    assert.equal(disk.available(MIB), 1)
    await slice.close()
    assert.equal(disk.available(3 * MIB), 1)
    assert.throws(() => setup.open(3, 3), { code: 'ENOSPC', message: /1048576 are/ })
    setup.open(1, 3)
  })

  test('available() counts a slice of another size than its type’s for that type, after a restart too', async () => {
    await using setup = new DiskSetup(10)
    const options = { typeSize: 8 * MIB }
    await setup.open(1, 4, options).close()
    for (let start = 0; start < 2; start++) {
      assert.equal(setup.disk.available(8 * MIB), 1)
      assert.equal(setup.disk.available(4 * MIB), 1, 'no more than fit')
      await setup.closeDisk()
    }
    await setup.open(1, 4, { typeSize: 2 * MIB }).close()
    assert.equal(setup.disk.available(8 * MIB), 0)
    assert.equal(setup.disk.available(2 * MIB), 4)
  })

  test('one that is not kept is zeroed when it is closed, and its bytes are free then', async () => {
    await using setup = new DiskSetup(4)
    const slice = setup.open(1, 2, { keep: false })
    setup.memory.fill(Buffer.alloc(MIB, 0xcc))
    await io(slice, (done) => slice.write(MIB, whole, done))
    await slice.close()
    assert.throws(() => setup.open(1, 2), { code: 'EBUSY' })
    await setup.disk.settled(uuidOf(1))
    assert.equal(setup.disk.free, 4 * MIB)
    assert.deepEqual(recordOf(setup), [])
    assert.ok(readFileSync(setup.path).every((byte) => byte === 0))
  })

  test('settled() waits for one that is being closed with work under way', async () => {
    await using setup = new DiskSetup(4, { engine: 'threads', direct: true })
    const slice = setup.open(1, 2)
    let ended = false
    slice.write(0, whole, () => (ended = true))
    slice.submit()
    void slice.close()
    assert.throws(() => setup.open(1, 2), { code: 'EBUSY' })
    await setup.disk.settled(uuidOf(1))
    assert.equal(ended, true)
    setup.open(1, 2)
  })

  test('keep() changes what becomes of one that is open', async () => {
    await using setup = new DiskSetup(4)
    const slice = setup.open(1, 2)
    setup.disk.keep(uuidOf(1), false)
    assert.equal(recordOf(setup)[0]?.state, 'scratch')
    setup.disk.keep(uuidOf(1), true)
    await slice.close()
    await setup.disk.settled(uuidOf(1))
    assert.equal(setup.disk.free, 2 * MIB)
    assert.throws(() => setup.disk.keep(uuidOf(1), false), { code: 'ENOENT' })
  })

  test('what a process that was killed had not wiped is wiped at the next start', async () => {
    await using setup = new DiskSetup(4)
    writeFileSync(setup.path, Buffer.alloc(4 * MIB, 0xdd))
    const entry = (n: number, state: string) => ({
      uuid: uuidOf(n),
      offset: (n - 1) * MIB,
      size: MIB,
      state,
    })
    const slices = [entry(1, 'kept'), entry(2, 'scratch'), entry(3, 'wiping')]
    writeFileSync(
      setup.recordPath,
      JSON.stringify({ format: 'mdevkit-nvme-slices', version: 1, slices }),
    )
    assert.throws(() => setup.open(2, 1), { code: 'EBUSY' })
    await setup.disk.settled(uuidOf(2))
    await setup.disk.settled(uuidOf(3))
    assert.deepEqual(recordOf(setup), [entry(1, 'kept')])
    const expected = Buffer.alloc(4 * MIB, 0xdd).fill(0, MIB, 3 * MIB)
    assert.deepEqual(readFileSync(setup.path), expected)
  })

  test('refuse a size that is none, another than recorded, and to be open twice', async () => {
    await using setup = new DiskSetup(4)
    for (const size of [0, -1, 0.5, 2 ** 53, Number.NaN])
      assert.throws(() => setup.open(1, size), { code: 'EINVAL' })
    assert.equal(existsSync(setup.recordPath), false)
    const slice = setup.open(1, 1)
    assert.throws(() => setup.open(1, 1), { code: 'EBUSY' })
    await slice.close()
    assert.throws(() => setup.open(1, 2), { code: 'EINVAL', message: /has 1048576 bytes already/ })
  })

  test('a record that cannot be written refuses the slice, and nothing has changed', async () => {
    await using setup = new DiskSetup(4)
    assert.equal(setup.disk.free, 4 * MIB)
    mkdirSync(setup.recordPath) // in whose place no file can be put
    assert.throws(() => setup.open(1, 1))
    assert.equal(setup.disk.free, 4 * MIB)
    rmSync(setup.recordPath, { recursive: true })
    setup.open(1, 1)
  })
})

describe('a record of slices that is none', () => {
  const entry = { uuid: uuidOf(1), offset: 0, size: MIB, state: 'kept' }
  const record = (slices: unknown, more: object = {}) =>
    JSON.stringify({ format: 'mdevkit-nvme-slices', version: 1, slices, ...more })
  const CASES: readonly (readonly [string, string, RegExp])[] = [
    ['empty', '', /is no JSON/],
    ['torn', record([entry]).slice(0, -20), /is no JSON/],
    ['foreign', '{"slices": []}', /is no record of slices \(format missing\)/],
    ['null', 'null', /is no record of slices/],
    ['of a later version', record([], { version: 2 }), /is of version 2/],
    ['without a list', record({}), /no list/],
    ['with a bad uuid', record([{ ...entry, uuid: '../x' }]), /slice 0: uuid "..\/x"/],
    ['with a negative offset', record([{ ...entry, offset: -1 }]), /offset -1/],
    ['with an offset that is a text', record([{ ...entry, offset: '0' }]), /offset "0"/],
    ['with a size of 0', record([{ ...entry, size: 0 }]), /size 0/],
    ['with a size beyond all', record([{ ...entry, size: 2 ** 60 }]), /size 1152921504606847000/],
    ['with an unknown state', record([{ ...entry, state: 'lost' }]), /state "lost"/],
    ['with a type of size -1', record([{ ...entry, typeSize: -1 }]), /typeSize -1/],
    ['with a slice twice', record([entry, { ...entry, offset: MIB }]), /is there twice/],
    [
      'with slices that overlap',
      record([entry, { ...entry, uuid: uuidOf(2), offset: MIB - 512 }]),
      /overlaps another/,
    ],
    ['of a larger image', record([{ ...entry, size: 5 * MIB }]), /another image, or was cut/],
  ]
  for (const [what, text, message] of CASES) {
    test(`${what}: is refused, and left as it is`, async () => {
      await using setup = new DiskSetup(4)
      writeFileSync(setup.recordPath, text)
      assert.throws(
        () => setup.disk,
        (error: Error & { code: string }) => {
          assert.equal(error.code, 'EINVAL')
          assert.match(error.message, message)
          assert.ok(error.message.startsWith(setup.recordPath))
          return true
        },
      )
      assert.equal(readFileSync(setup.recordPath, 'utf8'), text)
    })
  }
})

describe('openDisk()', () => {
  const settings = { direct: false, flush: 'disk', slices: '' } as const
  const open = (more: object) =>
    openDisk({ attributes: { ...settings, image: '', ...more }, log: silentLogger })

  test('refuses an image that is missing, empty, too small, in use, or no disk', async () => {
    using scratch = new Scratch()
    const before = openFds()
    assert.throws(() => open({ image: `${scratch.path}/missing` }), {
      code: 'ENOENT',
      message: /missing: not there; make one/,
    })
    assert.throws(() => open({}), { code: 'EINVAL', message: /image: empty/ })
    const small = scratch.write('small', 'x')
    assert.throws(() => open({ image: small }), { code: 'EINVAL', message: /small: 1 bytes/ })
    assert.throws(() => open({ image: '/dev/null' }), { code: 'EINVAL' })
    assert.throws(() => open({ image: scratch.path }), { code: 'EINVAL' })
    truncateSync(small, 2 * MIB)
    const disk = open({ image: small })
    assert.throws(() => open({ image: small }), { code: 'EBUSY', message: /in use/ })
    await disk.close()
    const again = open({ image: small, direct: true })
    assert.equal(again.size, 2 * MIB)
    await again.close()
    await new Promise(setImmediate)
    assert.equal(openFds().length, before.length)
  })

  test('refuses a block device without a place for its record, and takes one with', async () => {
    using device = new LoopDevice(2 * MIB)
    using scratch = new Scratch()
    assert.throws(() => open({ image: device.path }), { code: 'EINVAL', message: /a block device/ })
    const disk = open({ image: device.path, slices: `${scratch.path}/slices.json` })
    assert.equal(disk.size, 2 * MIB)
    await disk.close()
  })
})

test('a full disk under the image is ENOSPC, and what was written before is there', async () => {
  using scratch = new Scratch()
  const mount = `${scratch.path}/small`
  mkdirSync(mount)
  // the disk is full at 3 MiB, its image claims 8
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=3m', 'tmpfs', mount])
  try {
    await using setup = new DiskSetup(8, { path: `${mount}/disk.img` })
    writeFileSync(`${mount}/disk.img`, '')
    truncateSync(`${mount}/disk.img`, 8 * MIB)
    const slice = setup.open(1, 8)
    setup.memory.fill(Buffer.alloc(MIB, 0xee))
    const outcomes: (string | undefined)[] = []
    for (let i = 0; i < 6; i++) {
      try {
        await io(slice, (done) => slice.write(i * MIB, whole, done))
        outcomes.push(undefined)
      } catch (error) {
        outcomes.push((error as { code: string }).code)
      }
    }
    assert.equal(outcomes[0], undefined)
    assert.equal(outcomes.at(-1), 'ENOSPC')
    await io(slice, (done) => slice.flush(done))
    await io(slice, (done) => slice.read(0, whole, done))
    assert.deepEqual(setup.memory.sees(MIB), Buffer.alloc(MIB, 0xee))
    // room that is given back can be used again
    await io(slice, (done) => slice.discard(0, MIB, done))
    assert.ok(statSync(`${mount}/disk.img`).blocks * 512 < 3 * MIB)
    await io(slice, (done) => slice.write(5 * MIB, [{ iova: 0, length: MIB / 2 }], done))
    await setup.closeDisk()
  } finally {
    execFileSync('umount', ['-l', mount])
  }
})
