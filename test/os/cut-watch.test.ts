/** Whether a file was cut, whatever its size says. */
import assert from 'node:assert/strict'
import {
  closeSync,
  copyFileSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { describe, test } from 'node:test'
import { alignedBlock, AsyncFile } from '../../src/os/async-file.ts'
import { CutWatch } from '../../src/os/cut-watch.ts'

const PAGE = 4096
const END = 64 * PAGE

/** A file of 64 pages, with two watches: over its first half, and over all of it. */
class Watched implements Disposable {
  readonly path: string
  readonly fd: number
  readonly half: CutWatch
  readonly all: CutWatch
  readonly #directory: string

  constructor(parent: string) {
    this.#directory = mkdtempSync(`${parent}/mdevkit-test-`)
    this.path = `${this.#directory}/file`
    writeFileSync(this.path, Buffer.alloc(END, 0x11))
    this.fd = openSync(this.path, 'r+')
    this.half = CutWatch.over(this.fd, END / 2)!
    this.all = CutWatch.over(this.fd, END)!
  }

  /** What they say, of half of it and of all. */
  get cut(): [boolean, boolean] {
    return [this.half.cut, this.all.cut]
  }

  [Symbol.dispose](): void {
    this.half.close()
    this.all.close()
    closeSync(this.fd)
    rmSync(this.#directory, { recursive: true })
  }
}

/** Mappings of a file in this process. */
function mappings(path: string): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.endsWith(path)).length
}

async function ended(begin: (done: (error?: Error) => void) => void): Promise<void> {
  await new Promise<void>((resolve, reject) =>
    begin((error) => (error === undefined ? resolve() : reject(error))),
  )
}

for (const parent of [tmpdir(), '/dev/shm']) {
  describe(`CutWatch, of a file in ${parent}`, () => {
    test('sees a cut, below what is watched and at no other place', () => {
      using file = new Watched(parent)
      assert.deepEqual(file.cut, [false, false])
      truncateSync(file.path, END - PAGE)
      assert.deepEqual(file.cut, [false, true])
      truncateSync(file.path, END / 2)
      assert.deepEqual(file.cut, [false, true])
      truncateSync(file.path, END / 2 - PAGE)
      assert.deepEqual(file.cut, [true, true])
      truncateSync(file.path, 0)
      assert.deepEqual(file.cut, [true, true])
    })

    test('sees a cut that a write beyond it has undone', () => {
      using file = new Watched(parent)
      truncateSync(file.path, PAGE)
      writeSync(file.fd, Buffer.alloc(PAGE, 0x22), 0, PAGE, END - PAGE)
      assert.equal(readFileSync(file.path).length, END)
      assert.deepEqual(file.cut, [true, true])
    })

    test('sees that the file was written anew, of the same bytes too', () => {
      using file = new Watched(parent)
      copyFileSync(file.path, `${file.path}.copy`)
      copyFileSync(`${file.path}.copy`, file.path)
      assert.equal(readFileSync(file.path).length, END)
      assert.deepEqual(file.cut, [true, true])
    })

    test('is not misled by what is written, given back and flushed there, or by a longer file', async () => {
      using file = new Watched(parent)
      for (const direct of parent === '/dev/shm' ? [false] : [false, true]) {
        const writer = new AsyncFile(file.path, { direct })
        const block = alignedBlock(2 * PAGE)
        const calls: ((done: (error?: Error) => void) => void)[] = [
          (done) => writer.write(END - 2 * PAGE, block, 2 * PAGE, done),
          (done) => writer.write(END / 2 - PAGE, block, 2 * PAGE, done),
          (done) => writer.sync(done),
          (done) => writer.discard(0, END, done),
          (done) => writer.zero(0, END, done),
          (done) => writer.sync(done),
        ]
        for (const call of calls) {
          await ended((done) => {
            call(done)
            writer.submit()
          })
          assert.deepEqual(file.cut, [false, false])
        }
        await writer.close()
      }
      truncateSync(file.path, 2 * END)
      truncateSync(file.path, END)
      assert.deepEqual(file.cut, [false, false])
      assert.ok(readFileSync(file.path).equals(Buffer.alloc(END)), 'the file has no mark')
    })

    test('does not watch what is not there, and leaves nothing mapped', () => {
      using file = new Watched(parent)
      assert.equal(mappings(file.path), 2)
      assert.equal(CutWatch.over(file.fd, END + PAGE), undefined)
      assert.equal(mappings(file.path), 2)
      file.half.close()
      file.half.close()
      file.all.close()
      assert.equal(mappings(file.path), 0)
    })
  })
}
