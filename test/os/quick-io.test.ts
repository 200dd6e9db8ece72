/** What is moved at once, and when that is left to others. */
import assert from 'node:assert/strict'
import { closeSync, openSync } from 'node:fs'
import { test } from 'node:test'
import { alignedBlock } from '../../src/os/async-file.ts'
import { FileRequest } from '../../src/os/file-request.ts'
import { QuickIo } from '../../src/os/quick-io.ts'
import { Scratch } from '../support/scratch.ts'

const KIB = 1024

/** Writes to a file, each of which takes so long, and waits or not. */
class Writes implements Disposable {
  readonly #scratch = new Scratch()
  readonly #fd = openSync(this.#scratch.write('file', ''), 'r+')
  readonly #block = alignedBlock(256 * KIB)
  readonly #quick: QuickIo
  #now = 0
  #ms = 0
  #waits = 0
  #waitsMore = 0

  constructor() {
    // each is asked before and after a write, which is how time goes on
    this.#quick = new QuickIo(
      () => (this.#now += this.#ms),
      () => (this.#waits += this.#waitsMore),
    )
    this.#quick.beginTurn()
  }

  /** @returns whether it was done at once */
  write(ms: number, waits: boolean, length = 4 * KIB): boolean {
    this.#ms = ms
    this.#waitsMore = waits ? 1 : 0
    const request = new FileRequest().start('write', this.#fd, 0, () => {})
    request.cached = true
    request.add(this.#block, 0, length)
    const result = this.#quick.attempt(request)
    assert.ok(result === undefined || result === length, `${result}`)
    return result !== undefined
  }

  beginTurn(): void {
    this.#quick.beginTurn()
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd)
    this.#scratch[Symbol.dispose]()
  }
}

test('writes are left to others for a while after one that has waited', () => {
  using writes = new Writes()
  assert.ok(writes.write(2, true))
  assert.ok(!writes.write(2, true))
  writes.beginTurn()
  assert.ok(!writes.write(2, true))
  assert.ok(writes.write(200, false))
})

test('writes go on after one that only took long, and after one that waited little', () => {
  using writes = new Writes()
  assert.ok(writes.write(50, false))
  assert.ok(writes.write(0.5, true))
  assert.ok(writes.write(0.5, true))
})

test('so much is moved in a turn; the next one begins anew', () => {
  using writes = new Writes()
  let count = 0
  while (writes.write(0, false, 256 * KIB)) count++
  assert.equal(count, 15)
  writes.beginTurn()
  assert.ok(writes.write(0, false))
})
