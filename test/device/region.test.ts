/** Regions: how accesses are split, what is out of bounds, and what drivers may return. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { DeviceRegion } from '../../src/device/region.ts'
import type { Registers, Width } from '../../src/device/registers.ts'

// VFIO_REGION_INFO_FLAG_* of <linux/vfio.h>
const READ = 1
const WRITE = 2

interface Access {
  readonly offset: number
  readonly width: Width
}

/** Registers that are plain memory, and note how they are accessed. */
class Memory implements Registers {
  readonly bytes: Uint8Array
  readonly accesses: Access[] = []

  constructor(bytes: Uint8Array) {
    this.bytes = bytes
  }
  read(offset: number, width: Width): number {
    this.accesses.push({ offset, width })
    let value = 0
    for (let i = width - 1; i >= 0; i--) value = value * 256 + this.bytes[offset + i]!
    return value
  }
  write(offset: number, value: number, width: Width): void {
    this.accesses.push({ offset, width })
    assert.ok(Number.isInteger(value) && value >= 0 && value < 2 ** (8 * width), `value ${value}`)
    for (let i = 0; i < width; i++) this.bytes[offset + i] = Math.floor(value / 2 ** (8 * i)) % 256
  }
}

/** Naturally aligned, ascending, each as wide as it can be. */
function expectedAccesses(offset: number, count: number, maxWidth: Width): Access[] {
  const accesses: Access[] = []
  const end = offset + count
  while (offset < end) {
    const width = ([4, 2, 1] as const).find(
      (wanted) => wanted <= maxWidth && offset % wanted === 0 && offset + wanted <= end,
    )!
    accesses.push({ offset, width })
    offset += width
  }
  return accesses
}

const SIZE = 64
const widths = fc.constantFrom<Width>(1, 2, 4)
/** A range inside the region, and room for it somewhere in a message. */
const ranges = fc
  .tuple(fc.nat(SIZE), fc.nat(SIZE), fc.nat(16))
  .map(([a, b, at]) => ({ offset: Math.min(a, b), count: Math.abs(a - b), at }))
const contents = fc.uint8Array({ minLength: SIZE, maxLength: SIZE })

function memoryRegion(content: Uint8Array, maxWidth: Width = 4, flags = READ | WRITE) {
  const memory = new Memory(Uint8Array.from(content))
  return { memory, region: new DeviceRegion('BAR0', SIZE, flags, memory, maxWidth) }
}

describe('DeviceRegion.read()', () => {
  test('splits into the widest naturally aligned accesses and gives the bytes that are there', () => {
    fc.assert(
      fc.property(contents, widths, ranges, (content, maxWidth, { offset, count, at }) => {
        const { memory, region } = memoryRegion(content, maxWidth)
        const message = new Uint8Array(SIZE + 32).fill(0xee)
        region.read(new DataView(message.buffer), at, offset, count)
        const expected = new Uint8Array(SIZE + 32).fill(0xee)
        expected.set(content.subarray(offset, offset + count), at)
        assert.deepEqual(message, expected)
        assert.deepEqual(memory.accesses, expectedAccesses(offset, count, maxWidth))
      }),
    )
  })

  for (const { value, width, bytes } of [
    { value: -1, width: 4, bytes: [0xff, 0xff, 0xff, 0xff] },
    { value: -2, width: 2, bytes: [0xfe, 0xff] },
    { value: 0x1_2345_6789, width: 4, bytes: [0x89, 0x67, 0x45, 0x23] },
    { value: 0x123, width: 1, bytes: [0x23] },
    { value: 2 ** 60, width: 4, bytes: [0, 0, 0, 0] },
    { value: Number.NaN, width: 4, bytes: [0, 0, 0, 0] },
    { value: Number.POSITIVE_INFINITY, width: 2, bytes: [0, 0] },
    { value: 1.9, width: 1, bytes: [1] },
    { value: undefined, width: 2, bytes: [0, 0] },
  ]) {
    test(`takes the low ${width} bytes of a driver's ${value}`, () => {
      const registers = { read: () => value as number, write: () => {} }
      const region = new DeviceRegion('BAR0', 8, READ, registers)
      const target = new Uint8Array(8).fill(0xee)
      region.read(new DataView(target.buffer), 2, 4, width)
      const expected = new Uint8Array(8).fill(0xee)
      expected.set(bytes, 2)
      assert.deepEqual(target, expected)
    })
  }

  for (const [title, value] of [
    ['a promise', Promise.reject(new Error('nobody waits for it'))],
    ["'12'", '12'],
    ['5n', 5n],
    ['null', null],
    ['{ value: 1 }', { value: 1 }],
  ] as const) {
    test(`says that a driver's ${title} is no number, and where`, () => {
      const registers = { read: () => value as unknown as number, write: () => {} }
      const region = new DeviceRegion('BAR0', 32, READ, registers)
      assert.throws(() => region.read(new DataView(new ArrayBuffer(4)), 0, 0x14, 4), {
        name: 'TypeError',
        message: `BAR0: read(0x14) returned ${title}, not a number`,
      })
    })
  }

  test('lets the error of a driver through, as it is', () => {
    const failure = new RangeError('driver')
    const registers = {
      read: () => {
        throw failure
      },
      write: () => {},
    }
    const region = new DeviceRegion('BAR0', 8, READ, registers)
    assert.throws(
      () => region.read(new DataView(new ArrayBuffer(4)), 0, 0, 4),
      (error) => error === failure,
    )
  })
})

describe('DeviceRegion.write()', () => {
  test('splits into the widest naturally aligned accesses and writes just these bytes', () => {
    fc.assert(
      fc.property(
        contents,
        fc.uint8Array({ minLength: SIZE + 16, maxLength: SIZE + 16 }),
        widths,
        ranges,
        (content, message, maxWidth, { offset, count, at }) => {
          const { memory, region } = memoryRegion(content, maxWidth)
          const source = Uint8Array.from(message)
          region.write(new DataView(source.buffer), at, offset, count)
          const expected = Uint8Array.from(content)
          expected.set(message.subarray(at, at + count), offset)
          assert.deepEqual(memory.bytes, expected)
          assert.deepEqual(memory.accesses, expectedAccesses(offset, count, maxWidth))
        },
      ),
    )
  })

  test('lets the error of a driver through, and does not go on', () => {
    const failure = new RangeError('driver')
    const written: number[] = []
    const registers = {
      read: () => 0,
      write: (offset: number) => {
        written.push(offset)
        if (offset === 4) throw failure
      },
    }
    const region = new DeviceRegion('BAR0', 16, WRITE, registers)
    assert.throws(
      () => region.write(new DataView(new ArrayBuffer(12)), 0, 0, 12),
      (error) => error === failure,
    )
    assert.deepEqual(written, [0, 4])
  })
})

describe('DeviceRegion bounds', () => {
  const verbs = ['read', 'write'] as const

  test('refuse with EINVAL exactly what does not lie inside, before the driver is asked', () => {
    const offsets = fc.oneof(
      fc.nat(SIZE + 8),
      fc.constantFrom(2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 52, Number.MAX_SAFE_INTEGER),
    )
    const counts = fc.oneof(fc.nat(SIZE + 8), fc.constantFrom(2 ** 31, 2 ** 32 - 1))
    const verb = fc.constantFrom(...verbs)
    fc.assert(
      fc.property(offsets, counts, verb, (offset, count, verb) => {
        const { memory, region } = memoryRegion(new Uint8Array(SIZE))
        const access = () => region[verb](new DataView(new ArrayBuffer(SIZE)), 0, offset, count)
        if (BigInt(offset) + BigInt(count) <= BigInt(SIZE)) {
          access()
        } else {
          assert.throws(access, { code: 'EINVAL', message: /^BAR0: / })
          assert.deepEqual(memory.accesses, [])
        }
      }),
      { numRuns: 1000 },
    )
  })

  for (const verb of verbs) {
    test(`${verb}() without that right is EINVAL`, () => {
      const { memory, region } = memoryRegion(
        new Uint8Array(SIZE),
        4,
        verb === 'read' ? WRITE : READ,
      )
      assert.throws(() => region[verb](new DataView(new ArrayBuffer(4)), 0, 0, 4), {
        code: 'EINVAL',
        message: new RegExp(`cannot be ${verb === 'read' ? 'read' : 'written'}`),
      })
      assert.deepEqual(memory.accesses, [])
    })

    test(`${verb}() of an absent region is EINVAL, of 0 bytes too`, () => {
      const region = DeviceRegion.absent('BAR3')
      assert.equal(region.size, 0)
      assert.equal(region.flags, 0)
      for (const count of [0, 1]) {
        assert.throws(() => region[verb](new DataView(new ArrayBuffer(4)), 0, 0, count), {
          code: 'EINVAL',
        })
      }
    })
  }
})
