/** Memory behind regions: what is accessed, what may be mapped, and what drivers may not ask for. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { RegionMemory } from '../../src/device/region-memory.ts'
import { DeviceRegion } from '../../src/device/region.ts'
import type { MemoryArea, Registers } from '../../src/device/registers.ts'
import { SharedMemories } from '../../src/device/shared-memory.ts'

const RW = 3 // VFIO_REGION_INFO_FLAG_READ and _WRITE of <linux/vfio.h>
const PAGE = 4096
const memories = new SharedMemories()

/** Offset, size and offset in the file of what may be mapped. */
function pagesOf({ mappable }: RegionMemory): number[][] {
  return mappable.map(({ offset, size, fileOffset }) => [offset, size, fileOffset])
}

function regionOf(size: number, areas?: readonly MemoryArea[]): RegionMemory {
  return new RegionMemory('BAR0', size, memories.create(size), areas)
}

describe('RegionMemory.mappable', () => {
  for (const [title, size, areas, expected] of [
    ['all of a region', 0x4000, undefined, [[0, 0x4000, 0]]],
    ['a region smaller than a page', 0x100, undefined, [[0, 0x100, 0]]],
    ['no part of a region smaller than a page', 0x100, [{ offset: 0, size: 0x80 }], []],
    ['whole pages of a region', 0x2800, undefined, [[0, 0x2000, 0]]],
    [
      'whole pages of areas, in order',
      0x8000,
      [
        { offset: 0x5000, size: 0x1000 },
        { offset: 0x0800, size: 0x1900 },
        { offset: 0x3001, size: 0x1000 },
      ],
      [
        [0x1000, 0x1000, 0x1000],
        [0x5000, 0x1000, 0x5000],
      ],
    ],
    [
      'areas that touch, as one',
      0x4000,
      [
        { offset: 0, size: 0x1000 },
        { offset: 0x1000, size: 0x2000 },
      ],
      [[0, 0x3000, 0]],
    ],
  ] as const) {
    test(`is ${title}`, () => {
      assert.deepEqual(pagesOf(regionOf(size, areas)), expected)
    })
  }

  test('is not what shares a page with other memory of the driver', () => {
    const memory = memories.create(PAGE)
    const region = new RegionMemory('BAR0', 0x100, memory, [{ offset: 0, size: 0x100 }])
    assert.deepEqual(pagesOf(region), [])
  })

  test('has areas of other memory from the start of that', () => {
    const other = memories.create(0x3000)
    const region = regionOf(0x8000, [
      { offset: 0x1000, size: 0x1000 },
      { offset: 0x2000, size: 0x3000, memory: other },
      { offset: 0x5800, size: 0x2000, memory: other }, // would start amid a page of the file
    ])
    assert.deepEqual(pagesOf(region), [
      [0x1000, 0x1000, 0x1000],
      [0x2000, 0x3000, 0],
    ])
    assert.equal(region.mappable[1]!.memory, other)
  })

  test('loses the pages of what is excluded', () => {
    const region = regionOf(0x6000)
    region.exclude(0x1ffc, 4)
    region.exclude(0x3800, 0x1000)
    assert.deepEqual(pagesOf(region), [
      [0, 0x1000, 0],
      [0x2000, 0x1000, 0x2000],
      [0x5000, 0x1000, 0x5000],
    ])
    const small = regionOf(0x100)
    small.exclude(0x10, 4)
    assert.deepEqual(pagesOf(small), [])
  })

  test('has at most 256 areas', () => {
    const region = regionOf(0x201000)
    for (let page = 0; page < 255; page++) region.exclude(page * 0x2000 + 0x1000, 4)
    assert.equal(region.mappable.length, 256)
    assert.throws(() => region.exclude(0x1ff000, 4), { code: 'EINVAL', message: /256/ })
    assert.equal(region.mappable.length, 256, 'nothing has changed')
    assert.equal(region.partAt(0x1ff000).memory !== undefined, true)
  })
})

describe('RegionMemory refuses', () => {
  const own = { size: 0x1000, bytes: new Uint8Array(0x1000) }
  for (const [title, areas] of [
    ['an empty area', [{ offset: 0, size: 0 }]],
    ['a negative offset', [{ offset: -0x1000, size: 0x1000 }]],
    ['a fraction', [{ offset: 0.5, size: 1 }]],
    ['NaN', [{ offset: Number.NaN, size: 1 }]],
    ['an area over the end', [{ offset: 0x3000, size: 0x2000 }]],
    ['an area beyond the end', [{ offset: 0x4000, size: 1 }]],
    ['an area near 2^53', [{ offset: Number.MAX_SAFE_INTEGER, size: 1 }]],
    [
      'areas that overlap',
      [
        { offset: 0x1000, size: 0x1001 },
        { offset: 0x2000, size: 0x1000 },
      ],
    ],
    ['memory that is not ours', [{ offset: 0, size: 0x1000, memory: own }]],
    [
      'an area larger than its memory',
      [{ offset: 0, size: 0x1001, memory: memories.create(0x1000) }],
    ],
  ] as const) {
    test(`${title} with EINVAL`, () => {
      assert.throws(() => regionOf(0x4000, areas), { code: 'EINVAL', message: /^BAR0: memory/ })
    })
  }

  test('an area beyond the memory of the region with EINVAL', () => {
    const areas = [{ offset: 0x1000, size: 0x1000 }]
    assert.throws(() => new RegionMemory('BAR0', 0x4000, memories.create(0x1fff), areas), {
      code: 'EINVAL',
    })
  })
})

describe('DeviceRegion with memory', () => {
  const SIZE = 64
  const areas = fc
    .uniqueArray(fc.nat(SIZE), { minLength: 2, maxLength: 8 })
    .map((edges) => edges.toSorted((a, b) => a - b))
    .map((edges) =>
      Array.from({ length: Math.floor(edges.length / 2) }, (_, i) => ({
        offset: edges[2 * i]!,
        size: edges[2 * i + 1]! - edges[2 * i]!,
      })),
    )
  const ranges = fc.tuple(fc.nat(SIZE), fc.nat(SIZE)).map(([a, b]) => ({
    offset: Math.min(a, b),
    count: Math.abs(a - b),
  }))
  const memory = memories.create(SIZE)

  test('reads and writes memory in its areas and registers elsewhere, whatever the access', () => {
    fc.assert(
      fc.property(areas, ranges, fc.nat(SIZE), (areas, { offset, count }, hole) => {
        const registers = new Uint8Array(SIZE)
        const backing: Registers = {
          read: (at, width) => Buffer.from(registers.buffer).readUIntLE(at, width),
          write: (at, value, width) =>
            void Buffer.from(registers.buffer).writeUIntLE(value, at, width),
        }
        const regionMemory = new RegionMemory('BAR0', SIZE, memory, areas)
        if (hole + 4 <= SIZE) regionMemory.exclude(hole, 4)
        const region = new DeviceRegion('BAR0', SIZE, RW, backing, 4, { memory: regionMemory })
        const isMemory = (at: number) =>
          areas.some((area) => at >= area.offset && at < area.offset + area.size) &&
          !(hole + 4 <= SIZE && at >= hole && at < hole + 4)
        memory.bytes.forEach((_, at) => {
          memory.bytes[at] = 100 + at
          registers[at] = at
        })
        const target = new Uint8Array(SIZE + 8)
        region.read(new DataView(target.buffer), 3, offset, count)
        for (let i = 0; i < count; i++) {
          const at = offset + i
          assert.equal(target[3 + i], isMemory(at) ? 100 + at : at)
        }
        const source = Uint8Array.from({ length: SIZE + 8 }, (_, i) => 200 + (i % 50))
        region.write(new DataView(source.buffer), 5, offset, count)
        for (let at = 0; at < SIZE; at++) {
          const isWritten = at >= offset && at < offset + count
          const value = source[5 + at - offset]
          assert.equal(memory.bytes[at], isWritten && isMemory(at) ? value : 100 + at)
          assert.equal(registers[at], isWritten && !isMemory(at) ? value : at)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('is bounded as one without', () => {
    const region = new DeviceRegion('BAR0', SIZE, RW, { read: () => 0, write: () => {} }, 4, {
      memory: new RegionMemory('BAR0', SIZE, memory),
    })
    const view = new DataView(new ArrayBuffer(SIZE * 2))
    for (const [offset, count] of [
      [0, SIZE + 1],
      [SIZE, 1],
      [2 ** 52, 4],
    ] as const) {
      assert.throws(() => region.read(view, 0, offset, count), { code: 'EINVAL' })
      assert.throws(() => region.write(view, 0, offset, count), { code: 'EINVAL' })
    }
    region.read(view, 0, SIZE, 0)
  })
})
