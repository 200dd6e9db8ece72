/** DEVICE_GET_INFO: section 7 of the reference. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { assertRefused, assertSuccess, GET_INFO, RawClient, u32 } from '../support/vfio-user-raw.ts'
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

/** argsz 16, RESET and PCI, 9 regions, 5 irq indexes. */
const ANSWER = u32(16, 1 | 2, 9, 5)

describe('DEVICE_GET_INFO', () => {
  for (const [title, payload] of [
    ['QEMU asks', u32(16, 0, 0, 0)],
    ['Cloud Hypervisor asks, with argsz 32', u32(32, 0, 0, 0)],
    ['the other fields are set', u32(16, 0xffffffff, 7, 7)],
    ['the payload is longer', u32(16, 0, 0, 0, 0, 0)],
    ['argsz is the largest', u32(0xffffffff, 0, 0, 0)],
  ] as const) {
    test(`answers 16 bytes when ${title}`, async () => {
      const reply = await client.request(GET_INFO, payload)
      assertSuccess(reply)
      assert.equal(reply.size, 32)
      assert.deepEqual(reply.payload, ANSWER)
    })
  }

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 15 bytes', u32(16, 0, 0, 0).subarray(0, 15)],
    ['argsz 15', u32(15, 0, 0, 0)],
    ['argsz 0', u32(0, 0, 0, 0)],
  ] as const) {
    test(`refuses ${title} with EINVAL, and lives`, async () => {
      assertRefused(await client.request(GET_INFO, payload), 'EINVAL')
      await client.assertAlive()
    })
  }
})
