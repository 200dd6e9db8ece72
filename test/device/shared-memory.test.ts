/** Memory that a driver shares: whose it is, what is in it, and what a client that has gone can still do with it. */
import assert from 'node:assert/strict'
import { fstatSync, readSync, writeSync } from 'node:fs'
import { describe, test } from 'node:test'
import { MemoryFile, SharedMemories } from '../../src/device/shared-memory.ts'
import { Arena } from '../../src/os/arena.ts'
import { fileSeals } from '../../src/os/fd.ts'
import { assertKeepsFds, duplicate, Fds } from '../support/fds.ts'
import { resourcesOf } from '../support/resources.ts'

const arena = new Arena()
/** F_SEAL_SEAL, F_SEAL_SHRINK and F_SEAL_GROW of <linux/fcntl.h>. */
const SEALED = 7

test('a MemoryFile is zeros in whole pages of a file that nobody can cut or lengthen', () => {
  const memory = new MemoryFile(arena, 5000)
  assert.deepEqual([memory.size, memory.bytes.length], [5000, 5000])
  assert.ok(memory.bytes.every((byte) => byte === 0))
  const fd = memory.share()
  assert.equal(fstatSync(fd).size, 8192)
  assert.equal(fileSeals(fd), SEALED)
  memory.bytes[4999] = 9
  const byte = new Uint8Array(1)
  readSync(fd, byte, 0, 1, 4999)
  assert.equal(byte[0], 9)
  memory.free()
})

for (const size of [
  0,
  -1,
  0.5,
  Number.NaN,
  Infinity,
  2 ** 32 + 1,
  undefined as unknown as number,
]) {
  test(`a MemoryFile of ${size} bytes is EINVAL, and leaves no fd`, () => {
    assertKeepsFds(() => {
      assert.throws(() => new MemoryFile(arena, size), { code: 'EINVAL' })
    })
  })
}

describe('MemoryFile.renew()', () => {
  test('keeps the bytes and the views of them, and leaves the old file to who has it', () => {
    using fds = new Fds()
    const memory = new MemoryFile(arena, 3 * 2 ** 20 + 100)
    const { bytes } = memory
    bytes[0] = 1
    bytes[2 * 2 ** 20] = 2
    bytes[memory.size - 1] = 3
    const kept = fds.own(duplicate(memory.share()))
    writeSync(kept, Uint8Array.of(77), 0, 1, memory.size) // in the padding of the last page
    memory.renew()
    assert.deepEqual([bytes[0], bytes[1], bytes[2 * 2 ** 20], bytes.at(-1)], [1, 0, 2, 3])
    bytes[0] = 10
    const byte = new Uint8Array(1)
    readSync(kept, byte, 0, 1, 0)
    assert.equal(byte[0], 1)
    writeSync(kept, Uint8Array.of(11), 0, 1, 0)
    assert.equal(bytes[0], 10)
    const fd = memory.share()
    assert.equal(fstatSync(fd).size, fstatSync(kept).size)
    readSync(fd, byte, 0, 1, memory.size)
    assert.equal(byte[0], 0, 'what was in the padding is not handed on')
    memory.free()
  })

  test('takes no room for pages that were never touched', () => {
    const memory = new MemoryFile(arena, 2 ** 30)
    memory.bytes[2 ** 29] = 1
    memory.share()
    memory.renew()
    assert.equal(memory.bytes[2 ** 29], 1)
    assert.ok(fstatSync(memory.share()).blocks * 512 <= 2 ** 21) // a huge page at most
    memory.free()
  })

  test('changes nothing of a file that was never given away', () => {
    const memory = new MemoryFile(arena, 4096)
    const before = resourcesOf()
    memory.renew()
    assert.deepEqual(resourcesOf().fds, before.fds)
    memory.share()
    memory.renew()
    const { ino } = fstatSync(memory.share())
    memory.renew()
    assert.notEqual(fstatSync(memory.share()).ino, ino)
    memory.free()
  })

  test('after free() does nothing', () => {
    const memory = new MemoryFile(arena, 4096)
    memory.share()
    memory.free()
    memory.renew()
    assert.equal(memory.shareable, false)
  })
})

test('SharedMemories.free() gives all back; views read zeros', () => {
  const before = resourcesOf()
  const memories = new SharedMemories()
  const views = [100, 5000, 2 ** 20].map((size) => memories.create(size).bytes)
  for (const view of views) view[0] = 1
  memories.free()
  memories.free()
  assert.deepEqual(
    views.map((view) => view[0]),
    [0, 0, 0],
  )
  const { fds, shared } = resourcesOf()
  assert.deepEqual({ fds, shared }, { fds: before.fds, shared: before.shared })
})
