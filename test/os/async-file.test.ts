/** Files with many requests at a time, by each of the engines. */
import assert from 'node:assert/strict'
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { describe, test } from 'node:test'
import { alignedBlock, AsyncFile, type AsyncFileOptions, blockOf } from '../../src/os/async-file.ts'
import { cFunction } from '../../src/os/ffi.ts'
import { openFds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const KIB = 1024
const POSIX_FADV_DONTNEED = 4 // posix_fadvise(2)
const ENGINES = ['io_uring', 'threads'] as const

/** Bytes of which no two that are near are equal. */
function pattern(length: number, seed = 1): Buffer {
  return Buffer.from(Array.from({ length }, (_, i) => ((i * 7 + seed * 13) % 251) + 1))
}

/** Begins requests, and waits for the end of all. */
async function all(
  file: AsyncFile,
  begin: (ended: (error?: Error) => void) => number,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let left = Infinity
    let ends = 0
    const count = begin((error) => {
      if (error !== undefined) reject(error)
      if (++ends === left) resolve()
    })
    left = count
    if (ends === left) resolve()
    file.submit()
  })
}

function one(file: AsyncFile, begin: (ended: (error?: Error) => void) => void): Promise<void> {
  return all(file, (ended) => {
    begin(ended)
    return 1
  })
}

for (const engine of ENGINES) {
  describe(`AsyncFile by ${engine}`, () => {
    function make(contents: Uint8Array, options: AsyncFileOptions = {}) {
      const scratch = new Scratch()
      const path = scratch.write('disk', '')
      writeFileSync(path, contents)
      const file = new AsyncFile(path, { engine, ...options })
      return {
        path,
        file,
        async [Symbol.asyncDispose]() {
          await file.close()
          scratch[Symbol.dispose]()
        },
      }
    }

    test('reads and writes more requests at once than the kernel takes', async () => {
      await using setup = make(pattern(1024 * KIB))
      const { file, path } = setup
      assert.equal(file.engine, engine)
      const blocks = Array.from({ length: 1000 }, () => blockOf(new Uint8Array(KIB)))
      await all(file, (ended) => {
        blocks.forEach((block, i) => file.read(i * KIB, block, KIB, ended))
        return blocks.length
      })
      const read = Buffer.concat(blocks.map(({ bytes }) => bytes))
      assert.deepEqual(read, pattern(1024 * KIB).subarray(0, 1000 * KIB))
      const other = pattern(KIB, 9)
      await all(file, (ended) => {
        blocks.forEach((_, i) => file.write(i * KIB, blockOf(other), KIB, ended))
        return blocks.length
      })
      assert.deepEqual(readFileSync(path).subarray(999 * KIB, 1000 * KIB), other)
      assert.deepEqual(
        readFileSync(path).subarray(1000 * KIB),
        pattern(1024 * KIB).subarray(1000 * KIB),
      )
    })

    test('gathers and scatters pieces, more than one call takes', async () => {
      await using setup = make(pattern(64 * KIB))
      const { file } = setup
      const target = blockOf(new Uint8Array(16 * KIB))
      const request = file.request('read', 5)
      for (let i = 0; i < 3000; i++) request.add(target, i * 4, 3)
      await one(file, (ended) => file.queue(request, ended))
      const expected = Buffer.alloc(16 * KIB)
      const source = pattern(64 * KIB)
      for (let i = 0; i < 3000; i++) source.copy(expected, i * 4, 5 + i * 3, 8 + i * 3)
      assert.deepEqual(Buffer.from(target.bytes), expected)
    })

    test('says EIO where the file has become too short, and moves on', async () => {
      await using setup = make(pattern(8 * KIB))
      const { file, path } = setup
      truncateSync(path, 6 * KIB)
      const block = blockOf(new Uint8Array(4 * KIB))
      await assert.rejects(
        one(file, (ended) => file.read(4 * KIB, block, 4 * KIB, ended)),
        {
          code: 'EIO',
          message: /the file ends before it/,
        },
      )
      await one(file, (ended) => file.read(0, block, 4 * KIB, ended))
      assert.deepEqual(Buffer.from(block.bytes), pattern(4 * KIB))
    })

    test('zeros and discards, and leaves what is around', async () => {
      await using setup = make(pattern(4096 * KIB))
      const { file, path } = setup
      await one(file, (ended) => file.zero(KIB, 2 * KIB, ended))
      await one(file, (ended) => file.discard(1024 * KIB, 2048 * KIB + 512, ended))
      await one(file, (ended) => file.sync(ended))
      const expected = pattern(4096 * KIB)
      expected.fill(0, KIB, 3 * KIB)
      expected.fill(0, 1024 * KIB, 3072 * KIB + 512)
      assert.deepEqual(readFileSync(path), expected)
      assert.ok(statSync(path).blocks * 512 < 3 * 1024 * KIB, 'the room was given back')
    })

    test('zeros and discards where the file system cannot, by writing', async () => {
      // a file system in memory knows no FALLOC_FL_ZERO_RANGE
      const path = `/dev/shm/mdevkit-test-${process.pid}-${engine}`
      writeFileSync(path, pattern(3 * 1024 * KIB))
      try {
        const file = new AsyncFile(path, { engine })
        await one(file, (ended) => file.zero(5, 2 * 1024 * KIB + 3, ended))
        await one(file, (ended) => file.zero(0, 2, ended))
        await file.close()
        const expected = pattern(3 * 1024 * KIB)
          .fill(0, 5, 2 * 1024 * KIB + 8)
          .fill(0, 0, 2)
        assert.deepEqual(readFileSync(path), expected)
      } finally {
        rmSync(path)
      }
    })

    test('close() waits for zeros that are written in pieces, until the last', async () => {
      const path = `/dev/shm/mdevkit-test-${process.pid}-${engine}` // as above
      writeFileSync(path, pattern(3 * 1024 * KIB))
      try {
        const file = new AsyncFile(path, { engine })
        const outcomes: (string | undefined)[] = []
        file.zero(0, 3 * 1024 * KIB, (error) => outcomes.push(error?.code))
        file.submit()
        await file.close()
        assert.deepEqual(outcomes, [undefined])
        assert.ok(readFileSync(path).equals(Buffer.alloc(3 * 1024 * KIB)))
        for (const how of ['zero', 'discard'] as const)
          assert.throws(() => file[how](0, KIB, () => undefined), { code: 'EBADF' })
      } finally {
        rmSync(path)
      }
    })

    test('says when nothing leads to it any more', async () => {
      await using setup = make(pattern(KIB))
      const file = new AsyncFile(setup.path, { engine })
      assert.equal(file.deleted, false)
      rmSync(setup.path)
      assert.equal(file.deleted, true)
      await file.close()
    })

    test('reads what the page cache does not hold', async () => {
      await using setup = make(pattern(1024 * KIB))
      const { file, path } = setup
      const fd = openSync(path, 'r')
      fsyncSync(fd)
      const fadvise = cFunction('posix_fadvise', 'int', ['int', 'size', 'size', 'int'])
      assert.equal(fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0)
      closeSync(fd)
      const blocks = Array.from({ length: 256 }, () => blockOf(new Uint8Array(4 * KIB)))
      await all(file, (ended) => {
        blocks.forEach((block, i) => file.read(((i * 37) % 256) * 4 * KIB, block, 4 * KIB, ended))
        return blocks.length
      })
      const expected = pattern(1024 * KIB)
      for (const [i, { bytes }] of blocks.entries()) {
        const at = ((i * 37) % 256) * 4 * KIB
        assert.ok(expected.subarray(at, at + 4 * KIB).equals(bytes), `block at ${at}`)
      }
    })

    test('moves aligned memory past the page cache', async () => {
      await using setup = make(pattern(64 * KIB), { direct: true })
      const { file, path } = setup
      assert.ok(file.alignment.offset >= 512 && file.alignment.offset <= 4096)
      const block = alignedBlock(16 * KIB)
      await one(file, (ended) => file.read(16 * KIB, block, 16 * KIB, ended))
      assert.deepEqual(Buffer.from(block.bytes), pattern(64 * KIB).subarray(16 * KIB, 32 * KIB))
      await one(file, (ended) => file.write(0, block, 16 * KIB, ended))
      assert.deepEqual(readFileSync(path).subarray(0, 16 * KIB), Buffer.from(block.bytes))
    })

    test('refuses a write of a file that is open for reading, with the errno of the kernel', async () => {
      await using setup = make(pattern(KIB), { readOnly: true })
      const { file } = setup
      await assert.rejects(
        one(file, (ended) => file.write(0, blockOf(new Uint8Array(8)), 8, ended)),
        { code: 'EBADF', message: /disk: write of 8 B/ },
      )
    })

    test("an exclusive one is nobody else's until it is closed", async () => {
      await using setup = make(pattern(KIB), { exclusive: true })
      const { file, path } = setup
      assert.throws(() => new AsyncFile(path, { engine, exclusive: true }), {
        code: 'EBUSY',
        message: /disk: in use/,
      })
      await file.close()
      await new AsyncFile(path, { engine, exclusive: true }).close()
    })

    test('close() waits for what is under way, and closes what was opened', async () => {
      await using setup = make(pattern(1024 * KIB), { direct: true })
      const before = openFds()
      const file = new AsyncFile(setup.path, { engine, direct: true })
      const block = alignedBlock(1024 * KIB)
      let ended = false
      file.read(0, block, 1024 * KIB, () => (ended = true))
      file.submit()
      await file.close()
      assert.equal(ended, true)
      assert.deepEqual(openFds(), before)
      assert.throws(() => file.read(0, block, 512, () => undefined), { code: 'EBADF' })
      await file.close()
    })

    test('calls back after the last of those that end together, once', async () => {
      await using setup = make(pattern(64 * KIB))
      const { file } = setup
      const log: string[] = []
      await new Promise<void>((resolve) => {
        for (let i = 0; i < 3; i++) {
          file.read(i * KIB, blockOf(new Uint8Array(KIB)), KIB, () => {
            if (log.length === 0) file.afterBatch(() => log.push('batch'))
            log.push('end')
            if (log.filter((word) => word === 'end').length === 3) setImmediate(resolve)
          })
        }
        file.submit()
      })
      assert.equal(log.filter((word) => word === 'batch').length, 1)
      assert.equal(log[0], 'end')
    })

    test('requests that begin at the end of others all end, and the process stays free between', async () => {
      await using setup = make(pattern(64 * KIB))
      const { file } = setup
      const block = blockOf(new Uint8Array(KIB))
      let left = 20_000
      let turns = 0
      const timer = setInterval(() => turns++, 1)
      await new Promise<void>((resolve, reject) => {
        const next = (error?: Error): void => {
          if (error !== undefined) return reject(error)
          if (--left === 0) resolve()
          if (left <= 0) return
          file.read((left % 60) * KIB, block, KIB, next)
          file.submit()
        }
        for (let i = 0; i < 4; i++) file.read(0, block, KIB, next)
        file.submit()
      })
      clearInterval(timer)
      assert.ok(turns > 0)
    })
  })
}

test('new AsyncFile() refuses what is no disk', () => {
  using scratch = new Scratch()
  assert.throws(() => new AsyncFile(`${scratch.path}/missing`), { code: 'ENOENT' })
  assert.throws(() => new AsyncFile(scratch.path), {
    code: 'EINVAL',
    message: /neither a file nor a block device/,
  })
  assert.throws(() => new AsyncFile('/dev/null'), { code: 'EINVAL' })
})
