/** REGION_WRITE_MULTI: sections 11.2 and 19 of the reference. */
import assert from 'node:assert/strict'
import { after, before, beforeEach, describe, test } from 'node:test'
import { REGISTER, type TestDevice } from '../support/vfio-user-device.ts'
import {
  assertRefused,
  assertSuccess,
  type Errno,
  hex,
  message,
  NO_REPLY,
  RawClient,
  REGION_WRITE_MULTI,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

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

/** One write: offset, region, count, and always 8 bytes. */
function entry(offset: number | bigint, count: number, data: string, region = 0): Buffer {
  return Buffer.concat([u64(offset), u32(region, count), hex(data.padEnd(16, '0'))])
}

function multi(entries: readonly Buffer[], count: number | bigint = entries.length): Buffer {
  return Buffer.concat([u64(count), ...entries])
}

describe('REGION_WRITE_MULTI', () => {
  test('writes in order, and answers with the number of writes', async () => {
    const entries = [
      entry(0x40, 1, '11'),
      entry(0x42, 2, '2222'),
      entry(0x44, 4, '33333333'),
      entry(0x48, 8, '4444444444444444'),
      entry(0x48, 3, '555555'),
    ]
    const reply = await client.request(REGION_WRITE_MULTI, multi(entries))
    assertSuccess(reply)
    assert.equal(reply.size, 24)
    assert.deepEqual(reply.payload, u64(5))
    assert.deepEqual(device.scratch.subarray(0x40, 0x50), hex('11002222333333335555554444444444'))
    assert.deepEqual(device.log, [
      ['w', 0, 0x40, 1],
      ['w', 0, 0x42, 2],
      ['w', 0, 0x44, 4],
      ['w', 0, 0x48, 4],
      ['w', 0, 0x4c, 4],
      ['w', 0, 0x48, 2],
      ['w', 0, 0x4a, 1],
    ])
  })

  test("takes QEMU's 200 writes, posted, and does not answer", async () => {
    const entries = Array.from({ length: 200 }, (_, i) =>
      entry(i, 1, i.toString(16).padStart(2, '0')),
    )
    const request = message(REGION_WRITE_MULTI, multi(entries), { flags: NO_REPLY })
    assert.equal(request.length, 4824)
    await client.send(request)
    await client.assertAlive()
    assert.deepEqual([...device.scratch.subarray(0, 200)], [...entries.keys()])
  })

  test('takes no write at all', async () => {
    const reply = await client.request(REGION_WRITE_MULTI, multi([]))
    assertSuccess(reply)
    assert.deepEqual(reply.payload, u64(0))
  })

  test('takes as many as fit into the largest message', async () => {
    const count = Math.floor((64 + 1048576 - 8) / 24)
    const entries = Array.from({ length: count }, () => entry(0, 1, '07'))
    assertSuccess(await client.request(REGION_WRITE_MULTI, multi(entries)))
    assert.equal(device.log.length, count)
  })
})

const GOOD = entry(0x40, 1, '11')
const LAST = entry(0x60, 1, '22')

/** Between a good entry and a last one, which must not be done. */
const BAD_ENTRIES: readonly [title: string, bad: Buffer, errno: Errno][] = [
  ['of 0 bytes', entry(0, 0, ''), 'EINVAL'],
  ['of 9 bytes', entry(0, 9, ''), 'EINVAL'],
  ['of 2^32 - 1 bytes', entry(0, 2 ** 32 - 1, ''), 'EINVAL'],
  ['for region 9 of 9', entry(0, 1, '', 9), 'EINVAL'],
  ['for an absent BAR', entry(0, 1, '', 5), 'EINVAL'],
  ['for the ROM', entry(0, 1, '', 6), 'EINVAL'],
  ['across the end', entry(0xffc, 8, ''), 'EINVAL'],
  ['at 2^64 - 1', entry(2n ** 64n - 1n, 1, ''), 'EINVAL'],
  ['on which the driver throws an Error', entry(REGISTER.bug, 4, ''), 'EIO'],
  ['on which the driver throws ENODEV', entry(REGISTER.refusing, 4, ''), 'ENODEV'],
]

describe('REGION_WRITE_MULTI refuses', () => {
  for (const [title, bad, errno] of BAD_ENTRIES) {
    test(`an entry ${title} with ${errno}, stops there, and lives`, async () => {
      const request = multi([GOOD, bad, LAST])
      assertRefused(await client.request(REGION_WRITE_MULTI, request), errno)
      assert.equal(device.scratch[0x40], 0x11, 'the entry before')
      assert.equal(device.scratch[0x60], 0, 'the entry after')
      await client.assertAlive()
    })

    test(`an entry ${title} in silence when it is posted`, async () => {
      await client.send(message(REGION_WRITE_MULTI, multi([GOOD, bad, LAST]), { flags: NO_REPLY }))
      await client.assertAlive()
      assert.equal(device.scratch[0x60], 0, 'the entry after')
    })
  }

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 7 bytes', Buffer.alloc(7)],
    ['a count below the entries', multi([GOOD, LAST], 1)],
    ['a count above the entries', multi([GOOD], 2)],
    ['a count of 2^64 - 1', multi([GOOD], 2n ** 64n - 1n)],
    // 24 * n of 2^61 + 1 entries is 24 again in 64 bits
    ['a count whose size wraps', multi([GOOD], 2n ** 61n + 1n)],
    ['an entry of 23 bytes', multi([GOOD]).subarray(0, 31)],
    ['a byte after the entries', Buffer.concat([multi([GOOD]), Buffer.alloc(1)])],
  ] as const) {
    test(`${title} with EINVAL, writes nothing, and lives`, async () => {
      assertRefused(await client.request(REGION_WRITE_MULTI, payload), 'EINVAL')
      assert.deepEqual(device.log, [])
      await client.assertAlive()
    })
  }

  for (const json of ['{}', '{"capabilities":{"write_multiple":false}}']) {
    test(`with EINVAL a client that said ${json}`, async () => {
      client.close()
      client = await RawClient.attach(served.path, json)
      assertRefused(await client.request(REGION_WRITE_MULTI, multi([GOOD])), 'EINVAL')
      assert.deepEqual(device.log, [])
      await client.assertAlive()
    })
  }
})
