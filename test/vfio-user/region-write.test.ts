/** REGION_WRITE: sections 11.1 and 19 of the reference. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { BIG_SIZE, REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  access,
  assertRefused,
  assertSuccess,
  hex,
  message,
  NO_REPLY,
  RawClient,
  REGION_READ,
  REGION_WRITE,
  u32,
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
  device.scratch.fill(0)
})

const DATA = hex('1122334455667788')

describe('REGION_WRITE', () => {
  for (const [offset, count, accesses] of [
    [0x40, 1, [[0x40, 1]]],
    [0x42, 2, [[0x42, 2]]],
    [0x44, 4, [[0x44, 4]]],
    [
      0x48,
      8,
      [
        [0x48, 4],
        [0x4c, 4],
      ],
    ],
    [
      0x41,
      8,
      [
        [0x41, 1],
        [0x42, 2],
        [0x44, 4],
        [0x48, 1],
      ],
    ],
    [0x40, 0, []],
  ] as const) {
    test(`of ${count} bytes at 0x${offset.toString(16)}: aligned, and echoed in 16 bytes`, async () => {
      const data = DATA.subarray(0, count)
      const reply = await client.request(REGION_WRITE, access(0, offset, count, data))
      assertSuccess(reply)
      assert.equal(reply.size, 32)
      assert.deepEqual(reply.payload, access(0, offset, count))
      assert.deepEqual(device.scratch.subarray(offset, offset + count), data)
      assert.deepEqual(
        device.log,
        accesses.map(([at, width]) => ['w', 0, at, width]),
      )
    })
  }

  test('of max_data_xfer_size bytes', async () => {
    const data = Buffer.alloc(MAX_TRANSFER, 'no period divides this')
    const at = BIG_SIZE - MAX_TRANSFER
    assertSuccess(await client.request(REGION_WRITE, access(2, at, MAX_TRANSFER, data)))
    assert.ok(device.big.subarray(at).equals(data))
  })

  test('posted, is done before a read that follows, and not answered', async () => {
    await client.send(
      Buffer.concat([
        message(REGION_WRITE, access(0, 0x40, 4, hex('efbeadde')), { id: 1, flags: NO_REPLY }),
        message(REGION_WRITE, access(0, 0x44, 8, DATA), { id: 2, flags: NO_REPLY }),
        message(REGION_READ, access(0, 0x40, 2), { id: 3 }),
      ]),
    )
    const reply = await client.reply()
    assert.equal(reply.id, 3)
    assert.deepEqual(reply.payload.subarray(16), hex('efbe'))
    assert.deepEqual(device.scratch.subarray(0x44, 0x4c), DATA)
  })

  test('of Command and Status in one dword clears only error bits of Status', async () => {
    const before = await client.request(REGION_READ, access(CONFIG, 4, 4))
    const status = before.payload.readUInt16LE(18)
    assertSuccess(await client.request(REGION_WRITE, access(CONFIG, 4, 4, u32(0xffff0007))))
    const then = await client.request(REGION_READ, access(CONFIG, 4, 4))
    assert.equal(then.payload.readUInt16LE(16), 7)
    assert.equal(then.payload.readUInt16LE(18), status)
    assertSuccess(await client.request(REGION_WRITE, access(CONFIG, 4, 4, u32(0))))
  })
})

const REFUSED: readonly [title: string, payload: Buffer][] = [
  ['no payload', Buffer.alloc(0)],
  ['a payload of 15 bytes', access(0, 0, 0).subarray(0, 15)],
  ['no data for 4 bytes', access(0, 0, 4)],
  ['3 bytes of data for 4', access(0, 0, 4, Buffer.alloc(3))],
  ['5 bytes of data for 4', access(0, 0, 4, Buffer.alloc(5))],
  ['4 bytes of data for 0', access(0, 0, 0, Buffer.alloc(4))],
  ['4 bytes of data for 2^32 - 1', access(0, 0, 2 ** 32 - 1, Buffer.alloc(4))],
  ['region 9 of 9', access(9, 0, 4, Buffer.alloc(4))],
  ['an absent BAR', access(5, 0, 4, Buffer.alloc(4))],
  ['the upper half of a 64-bit BAR', access(3, 0, 4, Buffer.alloc(4))],
  ['the ROM', access(6, 0, 4, Buffer.alloc(4))],
  ['one byte beyond the end', access(0, 0x1000, 1, Buffer.alloc(1))],
  ['an access across the end', access(0, 0xffe, 4, Buffer.alloc(4))],
  ['an offset of 2^64 - 4, which wraps', access(0, 2n ** 64n - 4n, 8, DATA)],
  ['an offset of 2^53', access(0, 2n ** 53n, 8, DATA)],
  ['more than max_data_xfer_size', access(2, 0, MAX_TRANSFER + 1, Buffer.alloc(MAX_TRANSFER + 1))],
]

describe('REGION_WRITE refuses', () => {
  for (const [title, payload] of REFUSED) {
    test(`${title} with EINVAL, reaches no register, and lives`, async () => {
      assertRefused(await client.request(REGION_WRITE, payload), 'EINVAL')
      assert.deepEqual(device.log, [])
      await client.assertAlive()
    })

    test(`${title} in silence when it is posted`, async () => {
      await client.send(message(REGION_WRITE, payload, { flags: NO_REPLY }))
      await client.assertAlive()
      assert.deepEqual(device.log, [])
    })
  }

  test('with EIO when the driver throws an Error, and lives', async () => {
    const write = access(0, REGISTER.bug, 4, Buffer.alloc(4))
    assertRefused(await client.request(REGION_WRITE, write), 'EIO')
    await client.assertAlive()
  })

  test('with the errno of an ErrnoError that the driver throws, and lives', async () => {
    const write = access(0, REGISTER.refusing, 4, Buffer.alloc(4))
    assertRefused(await client.request(REGION_WRITE, write), 'ENODEV')
    await client.assertAlive()
  })
})
