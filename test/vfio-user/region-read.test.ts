/** REGION_READ: sections 11.1 and 19 of the reference. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import {
  BIG_SIZE,
  REGISTER,
  ROM,
  ROM_SIZE,
  SCRATCH_SIZE,
  type TestDevice,
} from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  RawClient,
  REGION_READ,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

const CONFIG = 7
/** max_data_xfer_size, as we say in VERSION. */
const MAX_TRANSFER = 1048576

let served: Served
let device: TestDevice
let client: RawClient
before(async () => {
  ;({ served, device } = await serveTestDevice())
  client = await RawClient.attach(served.path)
})
after(() => {
  client.close()
  served[Symbol.dispose]()
})
beforeEach(() => {
  device.log.length = 0
  for (let i = 0; i < SCRATCH_SIZE; i++) device.scratch[i] = i
})

/** Reads, and checks that the reply is what section 4.1 wants: the request echoed, then the data. */
async function read(region: number, offset: number, count: number): Promise<Buffer> {
  const request = access(region, offset, count)
  const reply = await client.request(REGION_READ, request)
  assertSuccess(reply)
  assert.equal(reply.size, 32 + count)
  assert.deepEqual(reply.payload.subarray(0, 16), request)
  return reply.payload.subarray(16)
}

describe('REGION_READ', () => {
  for (const [offset, count, accesses] of [
    [0x40, 1, [[0x40, 1]]],
    [0x41, 1, [[0x41, 1]]],
    [0x42, 2, [[0x42, 2]]],
    [0x40, 4, [[0x40, 4]]],
    // 8 bytes are two accesses; the device knows no 64-bit registers
    [
      0x40,
      8,
      [
        [0x40, 4],
        [0x44, 4],
      ],
    ],
    [
      0x41,
      4,
      [
        [0x41, 1],
        [0x42, 2],
        [0x44, 1],
      ],
    ],
    [
      0x42,
      4,
      [
        [0x42, 2],
        [0x44, 2],
      ],
    ],
    [
      0x43,
      8,
      [
        [0x43, 1],
        [0x44, 4],
        [0x48, 2],
        [0x4a, 1],
      ],
    ],
    [0x40, 0, []],
  ] as const) {
    test(`of ${count} bytes at 0x${offset.toString(16)} arrives naturally aligned`, async () => {
      assert.deepEqual(
        await read(0, offset, count),
        device.scratch.subarray(offset, offset + count),
      )
      assert.deepEqual(
        device.log,
        accesses.map(([at, width]) => ['r', 0, at, width]),
      )
    })
  }

  test('of I/O ports of one byte is split into bytes', async () => {
    const bytes = await read(1, 1, 3)
    assert.deepEqual([...bytes], [1, 2, 3])
    assert.deepEqual(device.log, [
      ['r', 1, 1, 1],
      ['r', 1, 2, 1],
      ['r', 1, 3, 1],
    ])
  })

  test('of the whole config space', async () => {
    const config = await read(CONFIG, 0, 256)
    assert.equal(config.readUInt32LE(0), 0xbe111b36)
  })

  test('of the whole ROM, padded with 0xff', async () => {
    const rom = await read(6, 0, ROM_SIZE)
    assert.deepEqual(rom.subarray(0, ROM.length), ROM)
    assert.deepEqual(rom.subarray(ROM.length), Buffer.alloc(ROM_SIZE - ROM.length, 0xff))
  })

  test('of max_data_xfer_size bytes, up to the end of the region', async () => {
    for (let at = 0; at < BIG_SIZE; at += 4) device.big.writeUInt32LE(at, at)
    const bytes = await read(2, BIG_SIZE - MAX_TRANSFER, MAX_TRANSFER)
    assert.ok(bytes.equals(device.big.subarray(BIG_SIZE - MAX_TRANSFER)))
  })

  test('of 0 bytes at the very end of a region', async () => {
    assert.equal((await read(0, 0x1000, 0)).length, 0)
  })
})

describe('REGION_READ refuses', () => {
  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 15 bytes', access(0, 0, 4).subarray(0, 15)],
    ['a payload of 20 bytes', access(0, 0, 4, Buffer.alloc(4))],
    ['region 9 of 9', access(9, 0, 4)],
    ['region 2^32 - 1', access(2 ** 32 - 1, 0, 4)],
    ['an absent BAR', access(5, 0, 4)],
    ['an absent BAR, 0 bytes of it', access(5, 0, 0)],
    ['the upper half of a 64-bit BAR', access(3, 0, 4)],
    ['VGA, which is absent', access(8, 0, 1)],
    ['one byte beyond the end', access(0, 0x1000, 1)],
    ['an access across the end', access(0, 0xffe, 4)],
    ['4 bytes across the end of the config space', access(CONFIG, 0xfd, 4)],
    ['0 bytes beyond the end', access(0, 0x1001, 0)],
    ['an offset of 2^64 - 4, which wraps', access(0, 2n ** 64n - 4n, 8)],
    ['an offset of 2^53', access(0, 2n ** 53n, 4)],
    ['more than max_data_xfer_size', access(2, 0, MAX_TRANSFER + 1)],
    ['2^32 - 1 bytes', access(2, 0, 2 ** 32 - 1)],
  ] as const) {
    test(`${title} with EINVAL, reaches no register, and lives`, async () => {
      assertRefused(await client.request(REGION_READ, payload), 'EINVAL')
      assert.deepEqual(device.log, [])
      await client.assertAlive()
    })
  }

  test('with EIO when the driver throws an Error, and lives', async () => {
    assertRefused(await client.request(REGION_READ, access(0, REGISTER.bug, 4)), 'EIO')
    assert.ok(served.lines.some((line) => line.includes('a bug of the driver')))
    await client.assertAlive()
  })

  test('with the errno of an ErrnoError that the driver throws, and lives', async () => {
    assertRefused(await client.request(REGION_READ, access(0, REGISTER.refusing, 4)), 'ENODEV')
    await client.assertAlive()
  })

  test('the whole access when the driver throws in the middle of it', async () => {
    assertRefused(await client.request(REGION_READ, access(0, 0xfc, 8)), 'EIO')
    assert.deepEqual(device.log, [
      ['r', 0, 0xfc, 4],
      ['r', 0, 0x100, 4],
    ])
  })
})
