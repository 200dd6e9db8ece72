/** Layouts and views: every kind of field, bounds, and the limits of 64-bit numbers. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { dataViewOf, getSize, setSize, struct } from '../../src/lib/struct.ts'

const All = struct('all', 27, {
  u8: 'u8',
  u16: 'u16',
  u32: 'u32',
  s32: 's32',
  u64: 'u64',
  size: 'size',
})

/** What each field of {@link All} may hold, with Buffer's own reader and writer at its literal offset. */
const FIELDS = {
  u8: {
    values: fc.integer({ min: 0, max: 0xff }),
    read: (b: Buffer) => b.readUInt8(0),
    write: (b: Buffer, v: number | bigint) => b.writeUInt8(Number(v), 0),
  },
  u16: {
    values: fc.integer({ min: 0, max: 0xffff }),
    read: (b: Buffer) => b.readUInt16LE(1),
    write: (b: Buffer, v: number | bigint) => b.writeUInt16LE(Number(v), 1),
  },
  u32: {
    values: fc.integer({ min: 0, max: 0xffff_ffff }),
    read: (b: Buffer) => b.readUInt32LE(3),
    write: (b: Buffer, v: number | bigint) => b.writeUInt32LE(Number(v), 3),
  },
  s32: {
    values: fc.integer(),
    read: (b: Buffer) => b.readInt32LE(7),
    write: (b: Buffer, v: number | bigint) => b.writeInt32LE(Number(v), 7),
  },
  u64: {
    values: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
    read: (b: Buffer) => b.readBigUInt64LE(11),
    write: (b: Buffer, v: number | bigint) => b.writeBigUInt64LE(BigInt(v), 11),
  },
  size: {
    values: fc.maxSafeNat(),
    read: (b: Buffer) => Number(b.readBigUInt64LE(19)),
    write: (b: Buffer, v: number | bigint) => b.writeBigUInt64LE(BigInt(v), 19),
  },
} as const

const values = fc.record({
  u8: FIELDS.u8.values,
  u16: FIELDS.u16.values,
  u32: FIELDS.u32.values,
  s32: FIELDS.s32.values,
  u64: FIELDS.u64.values,
  size: FIELDS.size.values,
})

describe('struct()', () => {
  test('lays fields out in order, packed', () => {
    assert.equal(All.name, 'all')
    assert.equal(All.size, 27)
    assert.deepEqual(All.offsets, { u8: 0, u16: 1, u32: 3, s32: 7, u64: 11, size: 19 })
  })

  test('refuses fields that do not add up to the size', () => {
    for (const size of [0, 2, 4]) {
      assert.throws(() => struct('odd', size, { a: 'u8', b: 'u16' }), {
        code: 'EINVAL',
        message: `struct odd: fields add up to 3 bytes, not ${size}`,
      })
    }
  })

  test('encodes what Buffer reads, field by field', () => {
    fc.assert(
      fc.property(values, (expected) => {
        const bytes = Buffer.from(All.encode(expected))
        assert.equal(bytes.length, 27)
        for (const [name, { read }] of Object.entries(FIELDS)) {
          assert.equal(read(bytes), expected[name as keyof typeof FIELDS], name)
        }
      }),
    )
  })

  test('reads what Buffer wrote, field by field, at any offset', () => {
    fc.assert(
      fc.property(values, fc.nat(40), (expected, offset) => {
        const bytes = Buffer.alloc(offset + 27 + 5, 0xee)
        const view = All.view().aim(dataViewOf(bytes), offset)
        for (const [name, { write }] of Object.entries(FIELDS)) {
          write(bytes.subarray(offset), expected[name as keyof typeof FIELDS])
        }
        for (const name of Object.keys(FIELDS) as (keyof typeof FIELDS)[]) {
          assert.equal(view[name], expected[name], name)
        }
      }),
    )
  })

  test('encode() leaves fields that are not given 0', () => {
    assert.deepEqual(
      [...All.encode({ u16: 0x1234 })],
      [0, 0x34, 0x12, ...Array<number>(24).fill(0)],
    )
  })
})

describe('View', () => {
  test('starts over zeroed bytes of its own', () => {
    const [one, other] = [All.view(), All.view()]
    one.u32 = 7
    assert.equal(one.u32, 7)
    assert.equal(other.u32, 0)
  })

  test('writes only its own bytes, and each field only its own', () => {
    const bytes = Buffer.alloc(29, 0xee)
    const view = All.view().aim(dataViewOf(bytes), 1)
    view.u16 = 0
    view.size = 0
    const expected = Buffer.alloc(29, 0xee).fill(0, 2, 4).fill(0, 20, 28)
    assert.deepEqual(bytes, expected)
  })

  test('keeps the low bits of what is too wide', () => {
    const view = All.view()
    view.u8 = 0x1ff
    view.u16 = 0x12345
    view.u32 = -1
    view.s32 = 0xffff_fffe
    assert.deepEqual([view.u8, view.u16, view.u32, view.s32], [0xff, 0x2345, 0xffff_ffff, -2])
  })

  test('aim() returns the view itself, so that one serves every message', () => {
    const view = All.view()
    const data = new DataView(new ArrayBuffer(64))
    assert.equal(view.aim(data), view)
    assert.equal(view.aim(data, 30), view)
  })

  test('aim() takes what fits exactly, and refuses all else with EINVAL', () => {
    const view = All.view()
    const data = new DataView(new ArrayBuffer(40))
    view.aim(data, 13)
    for (const offset of [14, 40, 41, 2 ** 32, Number.MAX_SAFE_INTEGER, Infinity, -1, -27, NaN]) {
      assert.throws(() => view.aim(data, offset), { code: 'EINVAL', errno: 22 }, `${offset}`)
    }
    assert.throws(() => view.aim(data, 14), { message: 'all: 27 bytes at 14 do not fit in 40' })
    assert.throws(() => view.aim(new DataView(new ArrayBuffer(26))), { code: 'EINVAL' })
  })

  test('a refused aim() leaves the view where it was', () => {
    const data = new DataView(new ArrayBuffer(27))
    const view = All.view().aim(data)
    view.u32 = 5
    assert.throws(() => view.aim(new DataView(new ArrayBuffer(1))))
    assert.equal(view.u32, 5)
  })

  test('aim() respects the bounds of a window into a larger buffer', () => {
    const pool = Buffer.alloc(64, 0xee)
    const window = dataViewOf(pool.subarray(10, 37))
    const view = All.view().aim(window)
    view.u8 = 1
    assert.equal(pool[10], 1)
    assert.throws(() => view.aim(window, 1), { code: 'EINVAL' })
  })
})

describe('size fields', () => {
  const Size = struct('sized', 8, { length: 'size' })

  /** Little-endian bytes of a u64, and the number; undefined where it must be refused. */
  const READ: readonly (readonly [string, number | undefined])[] = [
    ['0000000000000000', 0],
    ['ffffffff00000000', 0xffff_ffff],
    ['0000000001000000', 0x1_0000_0000],
    ['0100000080000000', 0x80_0000_0001],
    ['ffffffffffff1f00', 9007199254740991], // 2^53 - 1
    ['0000000000002000', undefined], // 2^53
    ['0100000000002000', undefined], // 2^53 + 1, which no number is
    ['ffffffffffffffff', undefined],
  ]

  for (const [hex, expected] of READ) {
    test(`read ${hex} as ${expected ?? 'EOVERFLOW'}`, () => {
      const data = dataViewOf(Buffer.from(hex, 'hex'))
      const view = Size.view().aim(data)
      if (expected === undefined) {
        assert.throws(() => view.length, {
          code: 'EOVERFLOW',
          errno: 75,
          message: 'sized.length: u64 beyond 2^53',
        })
        assert.throws(() => getSize(data, 0, 'x'), { code: 'EOVERFLOW' })
      } else {
        assert.equal(view.length, expected)
        assert.equal(getSize(data, 0, 'x'), expected)
      }
    })
  }

  for (const value of [-1, 0.5, 2 ** 53, Number.NaN, Infinity, -Infinity]) {
    test(`refuse to be written ${value}, with EOVERFLOW and nothing written`, () => {
      const bytes = Buffer.alloc(8, 0xee)
      const view = Size.view().aim(dataViewOf(bytes))
      const error = { code: 'EOVERFLOW', message: `sized.length: ${value} is no u64 below 2^53` }
      assert.throws(() => (view.length = value), error)
      assert.throws(() => setSize(dataViewOf(bytes), 0, value, 'sized.length'), error)
      assert.deepEqual(bytes, Buffer.alloc(8, 0xee))
    })
  }

  test('are refused where the data ends', () => {
    assert.throws(() => getSize(new DataView(new ArrayBuffer(7)), 0, 'x'), RangeError)
  })
})

test('dataViewOf() covers exactly the bytes it is given', () => {
  const pool = new Uint8Array(16)
  const view = dataViewOf(pool.subarray(4, 9))
  assert.deepEqual([view.buffer, view.byteOffset, view.byteLength], [pool.buffer, 4, 5])
})
