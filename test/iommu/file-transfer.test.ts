/** Bytes moved between files and client memory. */
import assert from 'node:assert/strict'
import { ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { describe, test } from 'node:test'
import type { GuestMemory } from '../../src/iommu/guest-memory.ts'
import type { Segment } from '../../src/iommu/segments.ts'
import { assertKeepsFds, isOpen, makePipe } from '../support/fds.ts'
import { Guest, GUEST_PAGES, START, WAYS } from '../support/guest.ts'
import { resourcesOf } from '../support/resources.ts'
import { Scratch } from '../support/scratch.ts'
import { BusyThreadPool } from '../support/thread-pool.ts'

const PAGE = 4096
const SIZE = GUEST_PAGES * PAGE
const END = START.message + SIZE

/** Bytes of which no two that are near are equal. */
function pattern(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => (i % 251) + 1))
}

/** A guest beside a disk of `contents`. */
class Setup implements Disposable {
  readonly guest: Guest
  readonly scratch = new Scratch()
  readonly disk: number

  constructor(contents: Uint8Array, rights?: ConstructorParameters<typeof Guest>[0]) {
    this.guest = new Guest(rights)
    this.disk = this.guest.fds.own(openSync(this.scratch.write('disk', ''), 'r+'))
    writeSync(this.disk, contents)
  }

  get memory(): GuestMemory {
    return this.guest.memory
  }

  onDisk(position: number, length: number): Buffer {
    const bytes = Buffer.alloc(length)
    return bytes.subarray(0, readSync(this.disk, bytes, 0, length, position))
  }

  [Symbol.dispose](): void {
    this.guest[Symbol.dispose]()
    this.scratch[Symbol.dispose]()
  }
}

/** The two forms of each call, as one. */
const FORMS = {
  'on the thread pool': {
    writeFromFile: (memory: GuestMemory, list: readonly Segment[], fd: number, position: number) =>
      memory.writeFromFile(list, fd, position),
    readToFile: (memory: GuestMemory, list: readonly Segment[], fd: number, position: number) =>
      memory.readToFile(list, fd, position),
  },
  'at once': {
    writeFromFile: async (
      memory: GuestMemory,
      list: readonly Segment[],
      fd: number,
      position: number,
    ) => memory.writeFromFileSync(list, fd, position),
    readToFile: async (
      memory: GuestMemory,
      list: readonly Segment[],
      fd: number,
      position: number,
    ) => memory.readToFileSync(list, fd, position),
  },
} as const

for (const [form, { writeFromFile, readToFile }] of Object.entries(FORMS)) {
  describe(`file transfer ${form}`, () => {
    for (const way of WAYS.filter((each) => each !== 'message' || form === 'on the thread pool')) {
      test(`writes memory by ${way} from a file, and reads it into one`, async () => {
        using setup = new Setup(pattern(3 * PAGE))
        const { guest, memory, disk } = setup
        const list = [
          { iova: START[way] + PAGE, length: PAGE + 3 },
          { iova: START[way] + 7, length: 0 },
          { iova: START[way] + 1, length: 100 },
        ]
        assert.equal(await writeFromFile(memory, list, disk, 5), PAGE + 103)
        const expected = pattern(3 * PAGE).subarray(5, PAGE + 108)
        assert.deepEqual(guest.sees(way, PAGE, PAGE + 3), expected.subarray(0, PAGE + 3))
        assert.deepEqual(guest.sees(way, 1, 100), expected.subarray(PAGE + 3))
        assert.equal(await readToFile(memory, list, disk, 4 * PAGE), PAGE + 103)
        assert.deepEqual(setup.onDisk(4 * PAGE, 2 * PAGE), expected)
      })
    }

    test('goes over maps of several kinds, and more buffers than one call takes', async () => {
      using setup = new Setup(pattern(3 * SIZE))
      const { memory, disk, guest } = setup
      const end = form === 'at once' ? START.message : END
      const list: Segment[] = [{ iova: START.mapped, length: end - START.mapped - 3000 }]
      for (let iova = end - 3000; iova < end; iova++) list.push({ iova, length: 1 })
      const total = end - START.mapped
      assert.equal(await writeFromFile(memory, list, disk, 0), total)
      assert.deepEqual(guest.sees('mapped', 0, SIZE), pattern(3 * SIZE).subarray(0, SIZE))
      assert.deepEqual(guest.sees('file', 0, SIZE), pattern(3 * SIZE).subarray(SIZE, 2 * SIZE))
      ftruncateSync(disk, 0)
      assert.equal(await readToFile(memory, list, disk, 0), total)
      assert.deepEqual(setup.onDisk(0, 4 * SIZE), pattern(3 * SIZE).subarray(0, total))
    })

    test('stops where the file ends, and says how much there was', async () => {
      using setup = new Setup(pattern(PAGE + 10))
      const { memory, disk, guest } = setup
      const list = [
        { iova: START.mapped, length: 8 },
        { iova: START.file, length: 8 },
      ]
      assert.equal(await writeFromFile(memory, list, disk, PAGE + 10), 0)
      assert.equal(await writeFromFile(memory, list, disk, 2 * PAGE), 0)
      assert.equal(await writeFromFile(memory, list, disk, PAGE - 2), 12)
      assert.deepEqual(
        guest.sees('file', 0, 8),
        Buffer.concat([pattern(PAGE + 10).subarray(PAGE + 6), Buffer.alloc(4)]),
      )
      assert.equal(await writeFromFile(memory, [], disk, 0), 0)
    })

    test('checks all of the list before anything moves', async () => {
      using setup = new Setup(pattern(PAGE))
      using readOnly = new Setup(pattern(PAGE), { readable: true, writable: false })
      const { memory, disk, guest } = setup
      const first = { iova: START.mapped, length: 4 }
      for (const second of [
        { iova: END, length: 1 },
        { iova: END - 1, length: 2 },
        { iova: 0, length: 1 },
        { iova: Number.NaN, length: 1 },
      ]) {
        for (const move of [writeFromFile, readToFile])
          await assert.rejects(move(memory, [first, second], disk, 0), { code: 'EFAULT' })
      }
      await assert.rejects(writeFromFile(readOnly.memory, [first], readOnly.disk, 0), {
        code: 'EACCES',
      })
      for (const length of [-1, 0.5, Number.NaN])
        await assert.rejects(
          writeFromFile(memory, [first, { iova: START.mapped, length }], disk, 0),
          { code: 'EINVAL' },
        )
      for (const position of [-1, 0.5, Number.NaN, 2 ** 53])
        await assert.rejects(writeFromFile(memory, [first], disk, position), { code: 'EINVAL' })
      assert.deepEqual(guest.sees('mapped', 0, 4), Buffer.alloc(4))
      assert.deepEqual(setup.onDisk(0, 2 * PAGE), pattern(PAGE))
    })

    test('fails with what the file says, and can be repeated', async () => {
      using setup = new Setup(pattern(PAGE))
      const { memory, guest, disk } = setup
      const [reader, writer] = makePipe()
      guest.fds.own(reader)
      guest.fds.own(writer)
      const readOnly = guest.fds.own(openSync('/dev/zero', 'r'))
      const list = [{ iova: START.mapped, length: 4 }]
      await assert.rejects(writeFromFile(memory, list, reader, 0), { code: 'ESPIPE' })
      await assert.rejects(readToFile(memory, list, writer, 0), { code: 'ESPIPE' })
      await assert.rejects(readToFile(memory, list, readOnly, 0), { code: 'EBADF' })
      assert.equal(await writeFromFile(memory, list, disk, 0), 4)
      assert.equal(guest.container.unmap(START.mapped, SIZE), SIZE, 'nothing is in use any more')
    })

    test('marks what it has written, and nothing that it has read', async () => {
      using setup = new Setup(pattern(SIZE))
      const { memory, guest, disk } = setup
      const dirty = (iova: number) => {
        const bitmap = new Uint8Array(8)
        guest.container.takeDirty(iova, SIZE, PAGE, bitmap)
        return bitmap[0]
      }
      guest.container.dirtyLog.start([], PAGE)
      const list = [
        { iova: START.mapped + PAGE, length: 1 },
        { iova: START.file - 1, length: 2 },
      ]
      await readToFile(memory, list, disk, 0)
      assert.deepEqual([dirty(START.mapped), dirty(START.file)], [0, 0])
      await writeFromFile(memory, list, disk, 0)
      assert.deepEqual([dirty(START.mapped), dirty(START.file)], [0b1010, 0b0001])
      assert.deepEqual([dirty(START.mapped), dirty(START.file)], [0, 0])
    })
  })
}

test('at once, memory that the client has to be asked for is EOPNOTSUPP, and nothing moves', () => {
  using setup = new Setup(pattern(PAGE))
  const { memory, disk, guest } = setup
  const list = [
    { iova: START.mapped, length: 1 },
    { iova: START.message, length: 1 },
  ]
  assert.throws(() => memory.writeFromFileSync(list, disk, 0), { code: 'EOPNOTSUPP' })
  assert.throws(() => memory.readToFileSync(list, disk, 0), { code: 'EOPNOTSUPP' })
  assert.deepEqual(guest.sees('mapped', 0, 1), Buffer.alloc(1))
})

describe('while a file transfer is under way', () => {
  for (const way of ['mapped', 'file'] as const) {
    test(`unmap() of memory by ${way} waits for it, and refuses all else meanwhile`, async () => {
      using pool = new BusyThreadPool()
      using setup = new Setup(pattern(PAGE))
      const { memory, guest, disk } = setup
      const { container } = guest
      const list = [{ iova: START[way], length: PAGE }]
      const moved = memory.writeFromFile(list, disk, 0)
      const unmapped = container.unmap(START[way], SIZE)
      assert.ok(unmapped instanceof Promise)
      let gone = false
      void unmapped.then(() => {
        gone = true
      })
      assert.throws(() => memory.readU8(START[way]), { code: 'EFAULT' })
      assert.throws(() => memory.write(START[way] + SIZE - 1, new Uint8Array(1)), {
        code: 'EFAULT',
      })
      assert.throws(() => memory.view(START[way], 1), { code: 'EFAULT' })
      await assert.rejects(memory.writeFromFile(list, disk, 0), { code: 'EFAULT' })
      assert.equal(memory.maps().length, 2)
      assert.equal(gone, false)
      await pool.release()
      assert.equal(await moved, PAGE)
      assert.equal(await unmapped, SIZE)
      assert.deepEqual(guest.sees(way, 0, PAGE), pattern(PAGE))
      guest.map(way) // the range is free
    })
  }

  test('unmap() of other memory, and of memory by message, does not wait', async () => {
    using pool = new BusyThreadPool()
    using setup = new Setup(pattern(PAGE))
    const { memory, guest, disk } = setup
    const list = [
      { iova: START.mapped, length: 8 },
      { iova: START.message, length: 8 },
    ]
    const moved = memory.writeFromFile(list, disk, 0)
    assert.equal(guest.container.unmap(START.file, SIZE), SIZE)
    assert.equal(guest.container.unmap(START.message, SIZE), SIZE)
    const refused = assert.rejects(moved, { code: 'EFAULT' }) // its second part is gone
    await pool.release()
    await refused
    assert.deepEqual(guest.sees('mapped', 0, 8), pattern(8))
    assert.deepEqual(guest.sees('message', 0, 8), Buffer.alloc(8))
  })

  test('unmapAll() waits for all of them', async () => {
    using pool = new BusyThreadPool()
    using setup = new Setup(pattern(PAGE))
    const { memory, guest, disk } = setup
    const moved = WAYS.slice(0, 2).map((way) =>
      memory.writeFromFile([{ iova: START[way], length: 8 }], disk, 0),
    )
    const unmapped = guest.container.unmapAll()
    assert.ok(unmapped instanceof Promise)
    await pool.release()
    assert.equal(await unmapped, 3 * SIZE)
    assert.deepEqual(await Promise.all(moved), [8, 8])
    assert.equal(guest.container.count, 0)
  })

  test('it counts as written at every report, until once after its end', async () => {
    using pool = new BusyThreadPool()
    using setup = new Setup(pattern(PAGE))
    const { memory, guest, disk } = setup
    const { container } = guest
    const dirty = () => {
      const bitmap = new Uint8Array(8)
      container.takeDirty(START.mapped, SIZE, PAGE, bitmap)
      return bitmap[0]
    }
    container.dirtyLog.start([], PAGE)
    const moved = memory.writeFromFile([{ iova: START.mapped + PAGE, length: 8 }], disk, 0)
    assert.deepEqual([dirty(), dirty()], [2, 2])
    await pool.release()
    await moved
    assert.deepEqual([dirty(), dirty()], [2, 0])
  })

  test('close() does not wait: the memory goes with the end of it, and nothing is left', async () => {
    const before = resourcesOf()
    {
      using pool = new BusyThreadPool()
      using setup = new Setup(pattern(PAGE))
      const { memory, guest, disk } = setup
      const copy = guest.fds.own(openSync(`/proc/self/fd/${guest.mapped}`, 'r'))
      const moved = memory.writeFromFile([{ iova: START.mapped, length: 8 }], disk, 0)
      guest.container.close()
      assert.equal(guest.container.count, 0)
      assert.throws(() => memory.readU8(START.mapped), { code: 'EFAULT' })
      assert.equal(resourcesOf().shared.length, before.shared.length + 1)
      await pool.release()
      assert.equal(await moved, 8)
      const bytes = Buffer.alloc(8)
      readSync(copy, bytes, 0, 8, 0)
      assert.deepEqual(bytes, pattern(8))
      assert.equal(resourcesOf().shared.length, before.shared.length)
    }
    assert.deepEqual(resourcesOf().fds, before.fds)
  })
})

test('no fd is left by transfers, and the file of the driver stays open', () => {
  assertKeepsFds(() => {
    using setup = new Setup(pattern(PAGE))
    const list = [{ iova: START.mapped, length: 8 }]
    for (let i = 0; i < 100; i++) setup.memory.writeFromFileSync(list, setup.disk, i)
    assert.ok(isOpen(setup.disk))
  })
})
