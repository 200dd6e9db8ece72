/** The container beside a model that has no arena, no order and no shortcut: pages in a Map. */
import assert from 'node:assert/strict'
import { readSync } from 'node:fs'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import * as fc from 'fast-check'
import type { RemoteMemory } from '../../src/iommu/memory.ts'
import { Container } from '../../src/iommu/container.ts'
import type { DmaMap } from '../../src/iommu/map-entry.ts'
import { ErrnoError } from '../../src/lib/errno.ts'
import { Unwind } from '../../src/lib/unwind.ts'
import { KINDS, makeBacking } from '../support/backing.ts'
import {
  FILE_PAGES,
  IOVA_PAGES,
  type MapOperation,
  MAX_MAPS,
  Model,
} from '../support/container-model.ts'
import { ended, start } from '../support/child.ts'
import { assertKeepsFds, duplicate, Fds } from '../support/fds.ts'
import { Scratch } from '../support/scratch.ts'

const PAGE = 4096

type Operation =
  | MapOperation
  | { readonly kind: 'unmap'; readonly first: number; readonly pages: number }
  | { readonly kind: 'unmapAll' }
  | { readonly kind: 'read'; readonly at: number; readonly length: number }
  | { readonly kind: 'write'; readonly at: number; readonly bytes: Uint8Array }

const page = fc.nat(IOVA_PAGES)
const pages = fc.oneof({ weight: 9, arbitrary: fc.integer({ min: 1, max: 4 }) }, fc.constant(0))
/** Near the ends of pages, where the mistakes are. */
const address = fc
  .tuple(page, fc.oneof(fc.integer({ min: -8, max: 8 }), fc.nat(PAGE)))
  .map(([first, offset]) => Math.max(0, first * PAGE + offset))
const often = fc.oneof({ weight: 5, arbitrary: fc.constant(true) }, fc.constant(false))

const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .record({
        kind: fc.constant('map' as const),
        first: page,
        pages,
        file: fc.integer({ min: -1, max: KINDS.length - 1 }),
        filePage: fc.nat(FILE_PAGES),
        readable: often,
        writable: often,
      })
      .map((map) => (map.file < 0 ? Object.assign(map, { filePage: 0 }) : map)),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('unmap' as const), first: page, pages }) },
  { weight: 1, arbitrary: fc.constant({ kind: 'unmapAll' as const }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('read' as const),
      at: address,
      length: fc.oneof(fc.nat(16), fc.nat(3 * PAGE)),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      at: address,
      bytes: fc.oneof(
        fc.uint8Array({ maxLength: 16 }),
        fc
          .tuple(fc.nat(3 * PAGE), fc.integer({ min: 1, max: 255 }))
          .map(([length, value]) => new Uint8Array(length).fill(value)),
      ),
    }),
  },
)

type Result = Uint8Array | number | void

/** What a step comes to: the errno, the bytes read, or how many were unmapped. */
function outcome(step: () => Result): string {
  try {
    const result = step()
    return result instanceof Uint8Array ? Buffer.from(result).toString('base64') : String(result)
  } catch (error) {
    return (error as ErrnoError).code
  }
}

function runOnModel(model: Model, operation: Operation): Result {
  switch (operation.kind) {
    case 'map':
      return model.map(operation)
    case 'unmap':
      return model.unmap(operation.first, operation.pages)
    case 'unmapAll':
      return model.unmapAll()
    case 'read': {
      const target = new Uint8Array(operation.length)
      model.read(operation.at, target)
      return target
    }
    case 'write':
      return model.write(operation.at, operation.bytes)
  }
}

function runOnContainer(
  container: Container,
  files: readonly number[],
  operation: Operation,
): Result {
  switch (operation.kind) {
    case 'map':
      return container.map(dmaMap(operation, files))
    case 'unmap':
      return container.unmap(operation.first * PAGE, operation.pages * PAGE) as number
    case 'unmapAll':
      return container.unmapAll() as number
    case 'read': {
      const target = new Uint8Array(operation.length)
      void container.memory.read(operation.at, target)
      return target
    }
    case 'write':
      return void container.memory.write(operation.at, operation.bytes)
  }
}

function dmaMap(operation: MapOperation, files: readonly number[]): DmaMap {
  const { first, pages, file, filePage, readable, writable } = operation
  const fd = files[file]
  return {
    iova: first * PAGE,
    size: pages * PAGE,
    readable,
    writable,
    ...(fd === undefined ? {} : { file: { fd: duplicate(fd), offset: filePage * PAGE } }),
  }
}

/** A client that reads and writes nothing for us. */
const refusesAll: RemoteMemory = {
  read() {
    throw new ErrnoError('EFAULT', 'refused')
  },
  write() {
    throw new ErrnoError('EFAULT', 'refused')
  },
}

/** Runs `operations` on both, and compares what each comes to, and the files at the end. */
function compare(operations: readonly Operation[]): void {
  using scratch = new Scratch()
  using fds = new Fds()
  const files = KINDS.map((kind) => fds.own(makeBacking(kind, FILE_PAGES * PAGE, scratch)))
  const model = new Model()
  const container = new Container({ maxMaps: MAX_MAPS, remote: refusesAll })
  using end = new Unwind()
  end.defer(() => void container.unmapAll())
  for (const operation of operations) {
    assert.equal(
      outcome(() => runOnContainer(container, files, operation)),
      outcome(() => runOnModel(model, operation)),
      operation.kind,
    )
    assert.equal(container.count, model.maps.length)
  }
  for (const [i, fd] of files.entries()) {
    const bytes = Buffer.alloc(FILE_PAGES * PAGE)
    readSync(fd, bytes, 0, bytes.length, 0)
    assert.ok(bytes.equals(model.files[i] ?? bytes.subarray(1)), `contents of ${KINDS[i]}`)
  }
}

test('Container does as a simple model does, whatever comes, and leaves no fd', () => {
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 60, size: 'max' }), (operations) => {
      assertKeepsFds(() => compare(operations))
    }),
    { numRuns: 300 },
  )
})

/** What container-model-program.ts prints. */
interface Report {
  readonly steps: number
  readonly refused: number
  readonly left: Readonly<Record<string, number>>
}

test('Container does as the model does for 100,000 steps, and leaves no fd, mapping or locked page', async () => {
  const program = fileURLToPath(new URL('./container-model-program.js', import.meta.url))
  const seed = Math.floor(Math.random() * 2 ** 32)
  const { stdout, stderr, code } = await ended(
    start(process.execPath, ['--enable-source-maps', program, `${seed}`, '100000']),
  )
  assert.equal(code, 0, `seed ${seed}: ${stderr}`)
  const { steps, refused, left } = JSON.parse(stdout) as Report
  assert.equal(steps, 100_000)
  assert.ok(refused < 70_000, `${refused} steps were refused: too few do anything`)
  assert.deepEqual(left, { fds: 0, shared: 0, lockedKiB: 0 }, `seed ${seed}`)
})
