/** Configuration space as bytes: masks, what clears by writing 1, watchers, and the list of capabilities. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import * as fc from 'fast-check'
import { ConfigSpace } from '../../src/device/config-space.ts'
import type { Width } from '../../src/device/registers.ts'

const SIZE = 256 // PCI 3.0, 6.1

const accesses = fc.constantFrom<Width>(1, 2, 4).chain((width) =>
  fc.record({
    width: fc.constant(width),
    offset: fc.nat(SIZE / width - 1).map((index) => index * width),
    value: fc.nat(2 ** (8 * width) - 1),
  }),
)

describe('ConfigSpace.write()', () => {
  test('changes writable bits, clears those that 1 clears, and keeps the rest', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: SIZE, maxLength: SIZE }),
        fc.array(accesses, { maxLength: 8 }),
        fc.array(accesses, { maxLength: 8 }),
        fc.array(accesses, { maxLength: 16 }),
        (initial, writable, clearable, writes) => {
          const config = new ConfigSpace(SIZE)
          config.bytes.set(initial)
          // the model: one bit at a time
          const bits = Array.from(initial).flatMap((byte) =>
            [0, 1, 2, 3, 4, 5, 6, 7].map((bit) => (byte >> bit) & 1),
          )
          const forEachBit = (
            { offset, value, width }: { offset: number; value: number; width: Width },
            visit: (index: number, bit: number) => void,
          ) => {
            for (let i = 0; i < 8 * width; i++)
              visit(8 * offset + i, Math.floor(value / 2 ** i) % 2)
          }
          const mayWrite = new Set<number>()
          const mayClear = new Set<number>()
          for (const mask of writable) {
            config.allowWrites(mask.offset, mask.width, mask.value)
            forEachBit(mask, (index, bit) => bit === 1 && mayWrite.add(index))
          }
          for (const mask of clearable) {
            config.clearByOne(mask.offset, mask.width, mask.value)
            forEachBit(mask, (index, bit) => bit === 1 && mayClear.add(index))
          }
          for (const write of writes) {
            config.write(write.offset, write.value, write.width)
            forEachBit(write, (index, bit) => {
              if (mayWrite.has(index)) bits[index] = bit
              if (mayClear.has(index) && bit === 1) bits[index] = 0
            })
          }
          const expected = Uint8Array.from({ length: SIZE }, (_, byte) =>
            [0, 1, 2, 3, 4, 5, 6, 7].reduce((sum, bit) => sum | (bits[8 * byte + bit]! << bit), 0),
          )
          assert.deepEqual(config.bytes, expected)
          for (const { offset, width } of writes) {
            const there = [...expected.subarray(offset, offset + width)]
            assert.equal(
              config.read(offset, width),
              there.reduceRight((value, byte) => value * 256 + byte, 0),
            )
          }
        },
      ),
    )
  })

  // PCI 3.0, 6.2.2 and 6.2.3: Command at 0x04, Status at 0x06, whose error bits clear by writing 1
  test('of 4 bytes at 0x04 sets Command and clears in Status what was written as 1, no more', () => {
    const config = new ConfigSpace(SIZE)
    config.allowWrites(0x04, 2, 0x0547)
    config.clearByOne(0x06, 2, 0xf900)
    config.view.setUint16(0x06, 0xf910, true) // all errors, and the list of capabilities
    config.write(0x04, 0x8010_ffff, 4)
    assert.equal(config.read(0x04, 2), 0x0547)
    assert.equal(config.read(0x06, 2), 0x7910)
    config.write(0x04, 0, 4) // as a guest does that has read Status as 0
    assert.equal(config.read(0x04, 4), 0x7910_0000)
    config.write(0x07, 0x79, 1)
    assert.equal(config.read(0x06, 2), 0x0010)
  })
})

describe('ConfigSpace.watch()', () => {
  test('tells of every write that touches the range, after it, and of no other', () => {
    fc.assert(
      fc.property(
        accesses,
        fc.nat(SIZE - 8),
        fc.integer({ min: 1, max: 8 }),
        (write, at, length) => {
          const config = new ConfigSpace(SIZE)
          for (let offset = 0; offset < SIZE; offset += 4)
            config.allowWrites(offset, 4, 0xffff_ffff)
          const seen: number[] = []
          config.watch(at, length, () => seen.push(config.read(write.offset, write.width)))
          config.write(write.offset, write.value, write.width)
          const touched = Array.from({ length: write.width }, (_, i) => write.offset + i).some(
            (byte) => byte >= at && byte < at + length,
          )
          assert.deepEqual(seen, touched ? [write.value] : [])
        },
      ),
    )
  })
})

describe('ConfigSpace.addCapability()', () => {
  test('links each at a dword from 0x40 on, and says in Status that there is a list', () => {
    const config = new ConfigSpace(SIZE)
    assert.equal(config.read(0x06, 2), 0)
    assert.equal(config.addCapability(0x09, 5), 0x40)
    assert.equal(config.addCapability(0x05, 14), 0x48)
    assert.equal(config.addCapability(0x01, 8), 0x58)
    assert.equal(config.read(0x06, 2), 0x0010) // PCI_STATUS_CAP_LIST
    assert.equal(config.read(0x34, 1), 0x40)
    assert.deepEqual([config.read(0x40, 2), config.read(0x48, 2)], [0x4809, 0x5805])
    assert.equal(config.read(0x58, 2), 0x0001)
  })

  test('takes 192 bytes exactly; one more is ENOSPC and changes nothing', () => {
    const config = new ConfigSpace(SIZE)
    config.addCapability(0x09, 184)
    const before = config.bytes.slice()
    assert.throws(() => config.addCapability(0x05, 9), { code: 'ENOSPC' })
    assert.deepEqual(config.bytes, before)
    assert.equal(config.addCapability(0x05, 8), 0xf8)
    assert.throws(() => config.addCapability(0x09, 3), { code: 'ENOSPC' })
    assert.equal(config.read(0xf9, 1), 0)
  })

  test('stays within 256 bytes where the space has 4096', () => {
    const config = new ConfigSpace(4096)
    assert.throws(() => config.addCapability(0x09, 193), { code: 'ENOSPC' })
  })
})

describe('ConfigSpace.reset()', () => {
  test('goes back to what seal() saw, again and again', () => {
    const config = new ConfigSpace(SIZE)
    config.allowWrites(0x3c, 1, 0xff)
    config.bytes[0x3c] = 5
    config.seal()
    for (const value of [11, 12]) {
      config.write(0x3c, value, 1)
      assert.equal(config.read(0x3c, 1), value)
      config.reset()
      assert.equal(config.read(0x3c, 1), 5)
    }
  })
})

describe('ConfigSpace.grow()', () => {
  test('keeps bytes and masks, and adds zeros that nobody can write', () => {
    const config = new ConfigSpace(SIZE)
    config.bytes[0] = 0x48
    config.allowWrites(0x3c, 1, 0xff)
    config.clearByOne(0x07, 1, 0x80)
    config.bytes[0x07] = 0x80
    config.grow(4096)
    assert.equal(config.size, 4096)
    config.write(0x3c, 7, 1)
    config.write(0x04, 0x8000_0000, 4)
    config.write(0x100, 0xffff_ffff, 4)
    config.write(0xffc, 0xffff_ffff, 4)
    const expected = new Uint8Array(4096)
    expected[0] = 0x48
    expected[0x3c] = 7
    assert.deepEqual(config.bytes, expected)
  })
})
