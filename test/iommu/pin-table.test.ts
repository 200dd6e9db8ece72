/** Pins, after what a real kernel answered (Linux vfio_iommu_type1, a driver that pins, no IOMMU domain). */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import * as fc from 'fast-check'
import { ClientAccounts } from '../../src/iommu/client-accounts.ts'
import { fixedLimit, LockAccount } from '../../src/iommu/lock-account.ts'
import { PageLocks } from '../../src/iommu/page-locks.ts'
import { type PinAccounts, PinTable } from '../../src/iommu/pin-table.ts'
import type { Pin } from '../../src/iommu/pin.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { LockingProcess, setLockLimit } from '../support/limited.ts'
import { lockedBytes, SharedFile, TestSpace } from '../support/pin-space.ts'

const PAGE = 4096
const KiB = 1024
const MiB = 1024 * KiB

function unlimited(): LockAccount {
  return new LockAccount('anybody', fixedLimit('lock limit', Infinity))
}

/** A container of one client, with 2 MiB of its memory to map. */
class Setup implements Disposable {
  readonly file = new SharedFile((2 * MiB) / PAGE)
  readonly space = new TestSpace()
  readonly locks = new PageLocks()
  readonly accounts: PinAccounts
  readonly pins: PinTable
  readonly #before = lockedBytes()

  constructor(accounts: Partial<PinAccounts> = {}) {
    this.accounts = { client: unlimited(), parent: unlimited(), ...accounts }
    this.pins = new PinTable(this.space, this.locks, this.accounts)
  }

  map(iova: number, size: number, rights = 'rw', offset = 0, lockExempt = false): void {
    this.space.map(iova, size, rights, { file: this.file, offset }, lockExempt)
  }

  /** Fails unless so much is locked, charged to the client and to the parent. */
  sees(pages: number): void {
    const { client, parent } = this.accounts
    assert.deepEqual(
      [(lockedBytes() - this.#before) / PAGE, client.pages, parent.pages],
      [pages, pages, pages],
    )
  }

  /** Fails unless the pin is refused so, and nothing has changed. */
  refuses(iova: number, pages: number, access: Pin['access'], code: string): void {
    const before = this.accounts.client.pages
    assert.throws(() => this.pins.pin(iova, pages, access), { code })
    this.sees(before)
  }

  [Symbol.dispose](): void {
    this.pins.releaseAll()
    this.sees(0)
    assert.deepEqual([this.locks.pages, this.locks.runs], [0, 0])
    this.file[Symbol.dispose]()
  }
}

test('PinTable.pin() locks pages, charges them and shows them', () => {
  using setup = new Setup()
  setup.map(0, MiB, 'rw', 64 * KiB)
  setup.file.bytes(64 * KiB + PAGE, 1)[0] = 7
  setup.sees(0) // nothing is pinned by mapping
  const pin = setup.pins.pin(PAGE, 4, 'read-write')
  setup.sees(4)
  assert.deepEqual([pin.iova, pin.pages, pin.access, pin.held], [PAGE, 4, 'read-write', true])
  assert.deepEqual(
    pin.views.map(({ length }) => length),
    [4 * PAGE],
  )
  assert.equal(pin.views[0]?.[0], 7)
  pin.unpin()
  assert.equal(pin.held, false)
  setup.sees(0)
})

test('PinTable.pin() of pages that are pinned charges only the others, and they stay for each pin', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  const one = setup.pins.pin(PAGE, 4, 'read-write')
  const two = setup.pins.pin(PAGE, 4, 'read-write')
  setup.sees(4)
  const three = setup.pins.pin(3 * PAGE, 4, 'read-write')
  setup.sees(6)
  one.unpin()
  setup.sees(6)
  two.unpin()
  setup.sees(4)
  three.unpin()
  setup.sees(0)
})

test('PinTable: what is not pinned cannot be unpinned, EINVAL', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  const other = setup.pins.pin(PAGE, 1, 'read')
  const pin = setup.pins.pin(PAGE, 1, 'read')
  pin.unpin()
  assert.throws(() => pin.unpin(), { code: 'EINVAL', message: 'unpin 0x1000+1 pages: not pinned' })
  assert.throws(() => pin.frames(), { code: 'EINVAL' })
  setup.sees(1)
  other.unpin()
})

test('PinTable.pin() takes whole pages: an unaligned iova is EINVAL', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  for (const iova of [0x1800, 1, -PAGE, 0.5, Number.NaN]) setup.refuses(iova, 1, 'read', 'EINVAL')
})

test('PinTable.pin() refuses no pages and a broken count with EINVAL, more than 512 with E2BIG', () => {
  using setup = new Setup()
  setup.map(0, 4 * MiB)
  for (const pages of [0, -1, 1.5, Number.NaN]) setup.refuses(0, pages, 'read-write', 'EINVAL')
  for (const pages of [513, Infinity]) setup.refuses(0, pages, 'read-write', 'E2BIG')
  setup.refuses(2 ** 53 - PAGE, 2, 'read', 'EINVAL') // wraps
  setup.pins.pin(0, 512, 'read-write')
  setup.sees(512)
})

test('PinTable.pin() refuses what is not mapped with EINVAL, also where only the last page is not', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  setup.refuses(0x4000_0000, 1, 'read-write', 'EINVAL')
  setup.refuses(0xff000, 2, 'read-write', 'EINVAL')
  setup.pins.pin(0xff000, 1, 'read-write')
})

test('PinTable.pin() in a container that nobody has mapped anything into is EINVAL', () => {
  using setup = new Setup()
  setup.refuses(0, 1, 'read-write', 'EINVAL')
})

test('PinTable.pin() refuses a right that a map does not grant with EPERM', () => {
  using setup = new Setup()
  setup.map(0, 64 * KiB)
  setup.map(64 * KiB, 64 * KiB, 'r', 64 * KiB)
  setup.map(0x500000, 64 * KiB, 'w', 128 * KiB)
  setup.refuses(64 * KiB, 1, 'write', 'EPERM')
  setup.refuses(64 * KiB, 1, 'read-write', 'EPERM')
  setup.refuses(60 * KiB, 2, 'write', 'EPERM') // the first page may be written
  setup.refuses(0x500000, 1, 'read', 'EPERM')
  setup.refuses(0x500000, 1, 'read-write', 'EPERM')
  setup.pins.pin(64 * KiB, 1, 'read')
  setup.pins.pin(0x500000, 1, 'write')
  setup.pins.pin(60 * KiB, 2, 'read')
  setup.sees(3)
})

test('PinTable.pin() refuses memory that is not mapped here with EOPNOTSUPP', () => {
  using setup = new Setup()
  setup.map(0, 64 * KiB)
  setup.space.map(64 * KiB, 64 * KiB, 'rw')
  setup.refuses(64 * KiB, 1, 'read', 'EOPNOTSUPP')
  setup.refuses(60 * KiB, 2, 'read', 'EOPNOTSUPP')
})

test('PinTable.pin() across maps and pieces of a file has a view for each, in order', () => {
  using setup = new Setup()
  using pieces = new SharedFile(8, 4)
  setup.space.map(0, 4 * PAGE, 'rw', { file: pieces, offset: 2 * PAGE })
  setup.map(4 * PAGE, 4 * PAGE)
  pieces.bytes(3 * PAGE, 1)[0] = 1
  pieces.bytes(4 * PAGE, 1)[0] = 2
  setup.file.bytes(0, 1)[0] = 3
  const pin = setup.pins.pin(PAGE, 5, 'read-write')
  setup.sees(5)
  assert.deepEqual(
    pin.views.map((view) => [view.length / PAGE, view[0]]),
    [
      [1, 1],
      [2, 2],
      [2, 3],
    ],
  )
  pin.unpin()
})

test('PinTable.pin() that cannot be viewed has changed nothing', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  setup.space.viewError = new ErrnoError('ENOSPC', 'no room')
  setup.refuses(0, 4, 'read-write', 'ENOSPC')
  assert.equal(setup.pins.pinsIn(0), 0)
})

test('Pin.frames() tells a frame for each page, the same for the same page', () => {
  if (process.getuid?.() !== 0) throw new Error('run as root: it takes CAP_SYS_ADMIN')
  using setup = new Setup()
  setup.map(0, 4 * PAGE, 'rw', 4 * PAGE)
  setup.map(4 * PAGE, 4 * PAGE, 'rw', 4 * PAGE) // the same pages once more
  const frames = setup.pins.pin(0, 8, 'read').frames() ?? []
  assert.equal(frames.length, 8)
  assert.ok(frames.every((frame) => frame > 0))
  assert.equal(new Set(frames).size, 4)
  assert.deepEqual(frames.slice(0, 4), frames.slice(4))
})

test('PinTable.pin() of one page by two iovas charges it once', () => {
  using setup = new Setup()
  setup.map(0, 64 * KiB)
  setup.map(64 * KiB, 64 * KiB)
  const one = setup.pins.pin(0, 2, 'read')
  const two = setup.pins.pin(64 * KiB, 2, 'read')
  setup.sees(2)
  one.unpin()
  setup.sees(2)
  two.unpin()
})

test('PinTable.pin() of one page by two mdevs of one VM charges it once', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  const space = new TestSpace()
  space.map(0x100000, MiB, 'rw', { file: setup.file, offset: 0 })
  const other = new PinTable(space, setup.locks, setup.accounts)
  setup.pins.pin(0, 4, 'read-write')
  other.pin(0x100000, 4, 'read-write')
  setup.sees(4)
  assert.equal(setup.pins.releaseAll(), 1)
  setup.sees(4)
  assert.equal(other.releaseAll(), 1)
  setup.sees(0)
})

test('PinTable.pin() beyond the limit of the client is ENOMEM, and what failed is undone', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  using setup = new Setup({ client: share.account })
  setup.map(0, MiB) // far larger than the limit
  setup.map(0x500000, 64 * KiB, 'w', MiB)
  const held = [setup.pins.pin(0x3000, 6, 'read-write'), setup.pins.pin(0x10000, 10, 'read-write')]
  setup.sees(16)
  setup.refuses(0x20000, 1, 'read-write', 'ENOMEM')
  setup.refuses(0x500000, 1, 'read', 'EPERM')
  setup.refuses(0x500000, 1, 'write', 'ENOMEM')
  setup.pins.pin(0x10000, 10, 'read-write') // nothing new, so nothing to refuse
  held[0]?.unpin()
  setup.sees(10)
  setup.refuses(0x30000, 7, 'read-write', 'ENOMEM')
  setup.refuses(0xff000 - 6 * PAGE, 7, 'read-write', 'ENOMEM')
  setup.pins.pin(0x30000, 6, 'read-write')
  setup.sees(16)
  setup.pins.releaseAll()
  share.detach()
})

test('PinTable.pin(): what the client has locked itself counts against its limit', async () => {
  await using client = await LockingProcess.limited(64 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  using setup = new Setup({ client: share.account })
  setup.map(0, MiB)
  await client.lock(32 * KiB)
  setup.pins.pin(0, 8, 'read-write')
  setup.refuses(0x8000, 1, 'read-write', 'ENOMEM')
  setup.pins.releaseAll()
  share.detach()
})

test('PinTable.pin() of a map made with CAP_IPC_LOCK is charged but never refused', async () => {
  await using client = await LockingProcess.limited(8 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  using setup = new Setup({ client: share.account })
  setup.map(0, 64 * KiB, 'rw', 0, true)
  setup.map(64 * KiB, 64 * KiB, 'rw', 64 * KiB)
  setup.pins.pin(0, 16, 'read-write')
  setup.sees(16)
  setup.refuses(64 * KiB, 1, 'read-write', 'ENOMEM') // limited against everything charged
  setup.refuses(60 * KiB, 2, 'read-write', 'ENOMEM')
  setLockLimit(client.pid, 128 * KiB)
  setup.pins.pin(60 * KiB, 2, 'read-write')
  setup.sees(17)
  setup.pins.releaseAll()
  share.detach()
})

test('PinTable.pin(): the limit in force at that moment counts', async () => {
  await using client = await LockingProcess.limited(8 * KiB)
  const share = new ClientAccounts().attach(client.pid, 'vt')
  using setup = new Setup({ client: share.account })
  setup.map(0, MiB)
  setup.refuses(0, 3, 'read-write', 'ENOMEM')
  setLockLimit(client.pid, 128 * KiB)
  setup.pins.pin(0, 3, 'read-write')
  setLockLimit(client.pid, KiB)
  setup.refuses(0x10000, 1, 'read-write', 'ENOMEM')
  setup.pins.releaseAll()
  share.detach()
})

test('PinTable.pin() beyond the limit of the parent is ENOMEM, and the client is not charged', () => {
  using setup = new Setup({
    parent: new LockAccount('parent a', fixedLimit('lock limit', 16 * KiB)),
  })
  setup.map(0, MiB, 'rw', 0, true) // an exempt client does not free the parent
  setup.pins.pin(0, 3, 'read')
  setup.refuses(0x3000, 2, 'read', 'ENOMEM')
  setup.refuses(0x2000, 3, 'read', 'ENOMEM')
  setup.pins.pin(0x2000, 2, 'read')
  setup.sees(4)
})

test('PinTable.pin() beyond what may lie apart is ENOMEM, and nobody is charged', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  const locks = new PageLocks(1)
  const pins = new PinTable(setup.space, locks, setup.accounts)
  pins.pin(0, 1, 'read')
  assert.throws(() => pins.pin(2 * PAGE, 1, 'read'), { code: 'ENOMEM' })
  setup.sees(1)
  pins.releaseAll()
})

test('PinTable.release() takes the pins of a map away, and they say so', () => {
  using setup = new Setup()
  setup.map(0, 0x4000)
  setup.map(0x4000, 0x4000, 'rw', 64 * KiB)
  setup.map(0x8000, 0x4000, 'rw', 128 * KiB)
  const pins = [setup.pins.pin(0, 1, 'read'), setup.pins.pin(0x9000, 2, 'read')]
  setup.sees(3)
  assert.deepEqual(
    [0, 0x4000, 0x8000].map((iova) => setup.pins.pinsIn(iova)),
    [1, 0, 1],
  )
  assert.equal(setup.pins.release(0), 1)
  assert.deepEqual(
    pins.map(({ held }) => held),
    [false, true],
  )
  assert.throws(() => pins[0]?.unpin(), { code: 'EINVAL' })
  setup.sees(2)
  assert.equal(setup.pins.release(0x4000), 0)
  assert.equal(setup.pins.release(0x8000), 1)
  assert.equal(setup.pins.release(0x8000), 0)
  setup.sees(0)
})

test('PinTable.release() takes all of a pin that reaches into another map', () => {
  using setup = new Setup()
  setup.map(0, 0x4000)
  setup.map(0x4000, 0x4000, 'rw', 64 * KiB)
  const pin = setup.pins.pin(0x2000, 4, 'read')
  const other = setup.pins.pin(0x4000, 1, 'read')
  assert.deepEqual([setup.pins.pinsIn(0), setup.pins.pinsIn(0x4000)], [1, 2])
  assert.equal(setup.pins.release(0), 1)
  assert.deepEqual([pin.held, other.held, setup.pins.pinsIn(0x4000)], [false, true, 1])
  setup.sees(1)
})

test('PinTable.releaseAll() leaves nothing of a driver that pins and forgets', () => {
  using setup = new Setup()
  setup.map(0, MiB)
  setup.map(MiB, MiB, 'rw', MiB)
  for (let page = 0; page < 500; page++) setup.pins.pin(page * PAGE, 2, 'read-write')
  setup.sees(501)
  assert.equal(setup.pins.releaseAll(), 500)
  setup.sees(0)
  assert.equal(setup.pins.releaseAll(), 0)
})

test('PinTable.forEachWritable() tells the pages of a map that are pinned for writing', () => {
  using setup = new Setup()
  setup.map(0, 64 * KiB)
  setup.map(64 * KiB, 64 * KiB, 'rw', 64 * KiB)
  const told = (iova: number) => {
    const ranges: number[][] = []
    setup.pins.forEachWritable(iova, (...range) => ranges.push(range))
    return ranges
  }
  const pin = setup.pins.pin(60 * KiB, 2, 'read-write')
  setup.pins.pin(0, 1, 'read')
  setup.pins.pin(0x3000, 2, 'write')
  assert.deepEqual(told(0), [
    [60 * KiB, PAGE],
    [0x3000, 2 * PAGE],
  ])
  assert.deepEqual(told(64 * KiB), [[64 * KiB, PAGE]])
  pin.unpin()
  assert.deepEqual(told(64 * KiB), [])
})

test('PinTable says once more what was pinned for writing when it is let go', () => {
  using setup = new Setup()
  setup.map(0, 64 * KiB)
  setup.pins.pin(0x9000, 1, 'read').unpin()
  assert.deepEqual(setup.space.written, [])
  setup.pins.pin(0x5000, 2, 'read-write').unpin()
  assert.deepEqual(setup.space.written, [5, 6])
  setup.pins.pin(0x2000, 1, 'write')
  setup.pins.releaseAll()
  assert.deepEqual(setup.space.written, [5, 6, 2])
})

test('PinTable locks and charges what the pins that are held say, page by page', () => {
  const MAP_PAGES = 8
  const LIMIT = 12
  const step = fc.oneof(
    fc.record({
      kind: fc.constant('pin' as const),
      page: fc.integer({ min: 0, max: 3 * MAP_PAGES }),
      pages: fc.integer({ min: 1, max: 2 * MAP_PAGES }),
    }),
    fc.record({ kind: fc.constant('unpin' as const), which: fc.nat() }),
    fc.record({ kind: fc.constant('release' as const), map: fc.integer({ min: 0, max: 2 }) }),
  )
  /** The second and the third map show some of the same pages. */
  const FILE_PAGE = [0, 16, 20]
  const filePages = ({ iova, pages }: { iova: number; pages: number }): number[] =>
    Array.from({ length: pages }, (_, i) => iova / PAGE + i).map(
      (page) => (FILE_PAGE[Math.floor(page / MAP_PAGES)] ?? Number.NaN) + (page % MAP_PAGES),
    )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      using setup = new Setup({
        client: new LockAccount('vt', fixedLimit('lock limit', LIMIT * PAGE)),
      })
      for (const [i, page] of FILE_PAGE.entries())
        setup.map(i * MAP_PAGES * PAGE, MAP_PAGES * PAGE, 'rw', page * PAGE)
      let held: Pin[] = []
      for (const each of steps) {
        if (each.kind === 'pin') {
          const wanted = { iova: each.page * PAGE, pages: each.pages }
          const all = new Set([...held, wanted].flatMap(filePages))
          if (all.has(Number.NaN)) setup.refuses(wanted.iova, each.pages, 'read', 'EINVAL')
          else if (all.size > LIMIT) setup.refuses(wanted.iova, each.pages, 'read', 'ENOMEM')
          else held.push(setup.pins.pin(wanted.iova, each.pages, 'read'))
        } else if (each.kind === 'unpin') {
          held.splice(each.which % Math.max(held.length, 1), 1)[0]?.unpin()
        } else {
          const start = each.map * MAP_PAGES * PAGE
          const taken = held.filter(
            (pin) => pin.iova < start + MAP_PAGES * PAGE && pin.iova + pin.pages * PAGE > start,
          )
          assert.equal(setup.pins.release(start), taken.length)
          assert.ok(taken.every((pin) => !pin.held))
          held = held.filter((pin) => !taken.includes(pin))
        }
        assert.ok(held.every((pin) => pin.held))
        setup.sees(new Set(held.flatMap(filePages)).size)
      }
    }),
  )
})
