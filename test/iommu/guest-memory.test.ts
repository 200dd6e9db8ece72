/** Guest memory as a device reaches it: values, lists and views, whichever way it is reached. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { releaseView } from '../../src/iommu/view.ts'
import { Guest, GUEST_PAGES, START, WAYS } from '../support/guest.ts'

const PAGE = 4096
const END = START.message + GUEST_PAGES * PAGE

/** Where in memory of any kind a value may lie: aligned and not, and across a page. */
const OFFSETS = [0, 1, 2, 3, 7, PAGE - 1, PAGE - 3, PAGE - 7]

for (const way of WAYS) {
  describe(`GuestMemory by ${way}`, () => {
    test('writes and reads values, little-endian, at any address', async () => {
      using guest = new Guest()
      const { memory } = guest
      for (const offset of OFFSETS) {
        const at = START[way] + offset
        await memory.writeU8(at, 0x81)
        assert.equal(guest.sees(way, offset, 1).toString('hex'), '81')
        assert.equal(await memory.readU8(at), 0x81)
        await memory.writeU16(at, 0x8281)
        assert.equal(guest.sees(way, offset, 2).toString('hex'), '8182')
        assert.equal(await memory.readU16(at), 0x8281)
        await memory.writeU32(at, 0x84838281)
        assert.equal(guest.sees(way, offset, 4).toString('hex'), '81828384')
        assert.equal(await memory.readU32(at), 0x84838281)
        await memory.writeU64(at, 0x8887868584838281n)
        assert.equal(guest.sees(way, offset, 8).toString('hex'), '8182838485868788')
        assert.equal(await memory.readU64(at), 0x8887868584838281n)
      }
    })

    test('has done it on return, unless the client has to be asked', async () => {
      using guest = new Guest()
      const { memory } = guest
      const at = START[way]
      const results = [
        memory.readU8(at),
        memory.readU64(at),
        memory.writeU16(at, 1),
        memory.read(at, new Uint8Array(9)),
        memory.writeList([{ iova: at, length: 1 }], new Uint8Array(1)),
      ]
      for (const result of results) assert.equal(result instanceof Promise, way === 'message')
      for (const result of results) await result
    })

    test('refuses what a map does not grant with EACCES', async () => {
      const at = START[way]
      const list = [{ iova: at, length: 1 }]
      using readOnly = new Guest({ readable: true, writable: false })
      using writeOnly = new Guest({ readable: false, writable: true })
      const { memory } = readOnly
      for (const access of [
        () => memory.writeU8(at, 1),
        () => memory.writeU16(at, 1),
        () => memory.writeU32(at, 1),
        () => memory.writeU64(at, 1n),
        () => memory.writeList(list, new Uint8Array(1)),
        () => writeOnly.memory.readU8(at),
        () => writeOnly.memory.readU16(at),
        () => writeOnly.memory.readU32(at),
        () => writeOnly.memory.readU64(at),
        () => writeOnly.memory.readList(list, new Uint8Array(1)),
      ]) {
        assert.throws(access, { code: 'EACCES' })
      }
      await readOnly.memory.readU32(at)
      await writeOnly.memory.writeU32(at, 1)
      assert.throws(() => memory.writeU32(at, 1), { code: 'EACCES' }) // also where it was just read
    })
  })
}

test('values may lie across maps, of different kinds too', async () => {
  using guest = new Guest()
  const { memory } = guest
  for (const boundary of [START.file, START.message]) {
    await memory.writeU64(boundary - 3, 0x0807060504030201n)
    assert.equal(await memory.readU64(boundary - 3), 0x0807060504030201n)
    assert.equal(await memory.readU32(boundary - 1), 0x06050403)
    assert.equal(await memory.readU16(boundary - 1), 0x0403)
  }
  assert.equal(guest.sees('mapped', GUEST_PAGES * PAGE - 3, 3).toString('hex'), '010203')
  assert.equal(guest.sees('message', 0, 5).toString('hex'), '0405060708')
})

test('values where nothing is mapped are EFAULT', async () => {
  using guest = new Guest()
  const { memory } = guest
  for (const iova of [0, START.mapped - 1, END, -1, Number.NaN, 2 ** 60]) {
    assert.throws(() => memory.readU16(iova), { code: 'EFAULT' }, `${iova}`)
    assert.throws(() => memory.writeU32(iova, 1), { code: 'EFAULT' }, `${iova}`)
  }
  // the first byte is asked for before the hole is found: both have to be waited for
  await assert.rejects(async () => memory.readU16(END - 1), { code: 'EFAULT' })
  await assert.rejects(async () => memory.writeU32(END - 1, 1), { code: 'EFAULT' })
})

describe('GuestMemory.readList() and writeList()', () => {
  test('go over all kinds of memory, in the order of the list', async () => {
    using guest = new Guest()
    const { memory } = guest
    const list = [
      { iova: START.message + 5, length: 2 },
      { iova: START.mapped, length: 0 },
      { iova: START.file - 2, length: 4 }, // across two maps
      { iova: START.mapped + 9, length: 1 },
    ]
    await memory.writeList(list, Uint8Array.of(1, 2, 3, 4, 5, 6, 7))
    assert.deepEqual([...guest.sees('message', 5, 2)], [1, 2])
    assert.deepEqual([...guest.sees('mapped', GUEST_PAGES * PAGE - 2, 2)], [3, 4])
    assert.deepEqual([...guest.sees('file', 0, 2)], [5, 6])
    assert.deepEqual([...guest.sees('mapped', 9, 1)], [7])
    const target = new Uint8Array(7)
    await memory.readList(list, target)
    assert.deepEqual([...target], [1, 2, 3, 4, 5, 6, 7])
  })

  test('refuse a list that is not as long as the buffer with EINVAL', () => {
    using guest = new Guest()
    const { memory } = guest
    for (const lengths of [[], [3], [2, 3], [4, -1, 1], [1.5, 2.5], [Number.NaN]]) {
      const list = lengths.map((length) => ({ iova: START.mapped, length }))
      assert.throws(() => memory.readList(list, new Uint8Array(4)), { code: 'EINVAL' })
      assert.throws(() => memory.writeList(list, new Uint8Array(4)), { code: 'EINVAL' })
    }
  })

  test('move nothing when any of the list is refused', () => {
    using guest = new Guest()
    const list = [
      { iova: START.mapped, length: 1 },
      { iova: END - 1, length: 2 },
    ]
    assert.throws(() => guest.memory.writeList(list, Uint8Array.of(1, 2, 3)), { code: 'EFAULT' })
    assert.deepEqual([...guest.sees('mapped', 0, 1)], [0])
    const target = new Uint8Array(3).fill(9)
    assert.throws(() => guest.memory.readList(list, target), { code: 'EFAULT' })
    assert.deepEqual([...target], [9, 9, 9])
  })
})

describe('the dirty log and GuestMemory', () => {
  /** Pages of a map that are reported as written. */
  function dirty(guest: Guest, way: 'mapped' | 'file' = 'mapped'): number[] {
    const bitmap = new Uint8Array(8)
    guest.container.takeDirty(START[way], GUEST_PAGES * PAGE, PAGE, bitmap)
    return Array.from({ length: GUEST_PAGES }, (_, page) => page).filter(
      (page) => (bitmap[0]! & (1 << page)) !== 0,
    )
  }

  test('every write marks its pages, once', () => {
    using guest = new Guest()
    const { memory, container } = guest
    container.dirtyLog.start([], PAGE)
    for (const way of ['mapped', 'file'] as const) {
      const at = START[way]
      for (const [write, pages] of [
        [() => memory.write(at, new Uint8Array(1)), [0]],
        [() => memory.writeU8(at + PAGE, 1), [1]],
        [() => memory.writeU16(at + PAGE - 1, 1), [0, 1]],
        [() => memory.writeU32(at + 3 * PAGE - 3, 1), [2, 3]],
        [() => memory.writeU64(at + 2 * PAGE - 1, 1n), [1, 2]],
        [
          () => memory.writeList([{ iova: at, length: PAGE + 1 }], new Uint8Array(PAGE + 1)),
          [0, 1],
        ],
      ] as const) {
        void write()
        assert.deepEqual(dirty(guest, way), pages)
        assert.deepEqual(dirty(guest, way), [])
      }
      void memory.readU64(at)
      void memory.readList([{ iova: at, length: 9 }], new Uint8Array(9))
      assert.deepEqual(dirty(guest, way), [])
    }
  })

  test('a view counts as written at every report, and once more after it was released', () => {
    using guest = new Guest()
    const { memory, container } = guest
    const before = memory.view(START.mapped, 1)
    container.dirtyLog.start([], PAGE)
    const view = memory.view(START.mapped + PAGE, PAGE + 1)
    const again = memory.view(START.mapped + 2 * PAGE, 1)
    assert.deepEqual(dirty(guest), [0, 1, 2])
    assert.deepEqual(dirty(guest), [0, 1, 2])
    releaseView(before)
    releaseView(view)
    assert.deepEqual(dirty(guest), [0, 1, 2])
    assert.deepEqual(dirty(guest), [2], 'the other view of page 2 is still held')
    releaseView(again)
    assert.deepEqual(dirty(guest), [2])
    assert.deepEqual(dirty(guest), [])
  })

  test('a view that only reads marks nothing', () => {
    using guest = new Guest({ readable: true, writable: false })
    const view = guest.memory.view(START.mapped, PAGE)
    guest.container.dirtyLog.start([], PAGE)
    assert.deepEqual(dirty(guest), [])
    releaseView(view)
    assert.deepEqual(dirty(guest), [])
  })

  test('a view that is released late takes nothing from a later one at its address', () => {
    using guest = new Guest()
    const { memory, container } = guest
    const early = memory.view(START.mapped, PAGE)
    assert.equal(container.unmap(START.mapped, GUEST_PAGES * PAGE), GUEST_PAGES * PAGE)
    guest.map('mapped')
    container.dirtyLog.start([], PAGE)
    memory.view(START.mapped, PAGE)
    releaseView(early)
    assert.deepEqual(dirty(guest), [0])
    assert.deepEqual(dirty(guest), [0])
  })
})
