/** DEVICE_GET_REGION_INFO: sections 8.1 and 8.2 of the reference. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { BAR0_SIZE, BIG_SIZE, PORTS_SIZE, ROM_SIZE } from '../support/vfio-user-device.ts'
import {
  assertRefused,
  assertSuccess,
  GET_REGION_INFO,
  RawClient,
  u32,
  u64,
} from '../support/vfio-user-raw.ts'
import { type Served, serveTestDevice } from '../support/vfio-user-served.ts'

let served: Served
let client: RawClient
before(async () => {
  ;({ served } = await serveTestDevice())
  client = await RawClient.attach(served.path)
})
after(() => {
  client.close()
  served[Symbol.dispose]()
})

const READ = 1
const WRITE = 2

/** Flags and size by index. */
const REGIONS = [
  ['BAR 0', READ | WRITE, BAR0_SIZE],
  ['BAR 1, I/O', READ | WRITE, PORTS_SIZE],
  ['BAR 2, of 64 bits', READ | WRITE, BIG_SIZE],
  ['BAR 3, the upper half of BAR 2', 0, 0],
  ['BAR 4, with the MSI-X table', READ | WRITE, 0x1000],
  ['BAR 5, absent', 0, 0],
  ['the ROM', READ, ROM_SIZE],
  ['config space', READ | WRITE, 256],
  ['VGA, absent', 0, 0],
] as const

function request(index: number, argsz = 32): Buffer {
  return Buffer.concat([u32(argsz, 0, index, 0), u64(0, 0)])
}

describe('DEVICE_GET_REGION_INFO', () => {
  for (const [index, [title, flags, size]] of REGIONS.entries()) {
    test(`${index}: ${title}`, async () => {
      const reply = await client.request(GET_REGION_INFO, request(index))
      assertSuccess(reply)
      assert.equal(reply.size, 48)
      // argsz, flags, index, cap_offset, size, offset
      assert.deepEqual(reply.payload, Buffer.concat([u32(32, flags, index, 0), u64(size, 0)]))
    })
  }

  test("answers 32 bytes to SPDK's payload and argsz of 4064", async () => {
    const reply = await client.request(
      GET_REGION_INFO,
      Buffer.concat([request(0, 4064), Buffer.alloc(4032)]),
    )
    assertSuccess(reply)
    assert.deepEqual(reply.payload, Buffer.concat([u32(32, 3, 0, 0), u64(BAR0_SIZE, 0)]))
  })

  test('answers 32 bytes to the largest argsz', async () => {
    const reply = await client.request(GET_REGION_INFO, request(7, 0xffffffff))
    assertSuccess(reply)
    assert.equal(reply.size, 48)
  })

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 31 bytes', request(0).subarray(0, 31)],
    ['argsz 31', request(0, 31)],
    ['argsz 0', request(0, 0)],
    ['index 9 of 9', request(9)],
    ['index 2^31', request(2 ** 31)],
    ['index 2^32 - 1', request(2 ** 32 - 1)],
  ] as const) {
    test(`refuses ${title} with EINVAL, and lives`, async () => {
      assertRefused(await client.request(GET_REGION_INFO, payload), 'EINVAL')
      await client.assertAlive()
    })
  }
})
