/** Atomic files: whole or not at all, also when the disk is full. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { readSmallFile, writeFileAtomic } from '../../src/os/atomic-file.ts'
import { Scratch } from '../support/scratch.ts'

describe('writeFileAtomic()', () => {
  test('writes a file with its mode, replaces it, and leaves nothing beside it', () => {
    using scratch = new Scratch()
    const path = join(scratch.path, 'file')
    writeFileAtomic(path, 'one', { mode: 0o640 })
    writeFileAtomic(path, 'two, longer than one', { mode: 0o644 })
    assert.equal(readFileSync(path, 'utf8'), 'two, longer than one')
    assert.equal(statSync(path).mode & 0o777, 0o644)
    assert.deepEqual(readdirSync(scratch.path), ['file'])
  })

  test('refuses with EEXIST when exclusive, and leaves what is there', () => {
    using scratch = new Scratch()
    const path = scratch.write('file', 'one')
    assert.throws(() => writeFileAtomic(path, 'two', { mode: 0o644, exclusive: true }), {
      code: 'EEXIST',
    })
    assert.equal(readFileSync(path, 'utf8'), 'one')
    assert.deepEqual(readdirSync(scratch.path), ['file'])
  })

  test('takes a link away instead of writing through it', () => {
    using scratch = new Scratch()
    const outside = scratch.write('outside', 'precious')
    const path = join(scratch.path, 'file')
    symlinkSync(outside, path)
    writeFileAtomic(path, 'new', { mode: 0o644 })
    assert.equal(readFileSync(outside, 'utf8'), 'precious')
    assert.equal(readFileSync(path, 'utf8'), 'new')
  })

  test('of a missing directory is ENOENT', () => {
    using scratch = new Scratch()
    assert.throws(() => writeFileAtomic(join(scratch.path, 'no', 'file'), '', { mode: 0o644 }), {
      code: 'ENOENT',
    })
  })

  test('on a full disk is ENOSPC, and the old text stays', () => {
    using scratch = new Scratch()
    const disk = join(scratch.path, 'disk')
    mkdirSync(disk)
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', disk])
    try {
      const path = join(disk, 'file')
      writeFileAtomic(path, 'old', { mode: 0o644 })
      const tooMuch = 'x'.repeat(100 * 1024)
      assert.throws(() => writeFileAtomic(path, tooMuch, { mode: 0o644 }), { code: 'ENOSPC' })
      assert.equal(readFileSync(path, 'utf8'), 'old')
      assert.deepEqual(readdirSync(disk), ['file'])
    } finally {
      execFileSync('umount', [disk])
    }
  })
})

describe('readSmallFile()', () => {
  test('reads up to its limit, and refuses one byte more with EFBIG', () => {
    using scratch = new Scratch()
    const path = scratch.write('file', 'äb')
    assert.equal(readSmallFile(path, 3), 'äb')
    assert.throws(() => readSmallFile(path, 2), { code: 'EFBIG' })
  })

  test('refuses links, directories, FIFOs and what is no UTF-8', () => {
    using scratch = new Scratch()
    const link = join(scratch.path, 'link')
    symlinkSync(scratch.write('file', ''), link)
    assert.throws(() => readSmallFile(link, 9), { code: 'ELOOP' })
    assert.throws(() => readSmallFile(scratch.path, 9), { code: 'EINVAL' })
    const fifo = join(scratch.path, 'fifo')
    execFileSync('mkfifo', [fifo])
    assert.throws(() => readSmallFile(fifo, 9), { code: 'EINVAL' })
    const binary = join(scratch.path, 'binary')
    writeFileSync(binary, Uint8Array.of(0xff))
    assert.throws(() => readSmallFile(binary, 9), { code: 'EINVAL', message: /UTF-8/ })
    assert.throws(() => readSmallFile(join(scratch.path, 'missing'), 9), { code: 'ENOENT' })
  })
})
