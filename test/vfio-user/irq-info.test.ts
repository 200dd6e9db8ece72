/** DEVICE_GET_IRQ_INFO: section 10.1 of the reference. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { MSI_VECTORS, MSIX_VECTORS } from '../support/vfio-user-device.ts'
import {
  assertRefused,
  assertSuccess,
  GET_IRQ_INFO,
  RawClient,
  u32,
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

/** Flags (1 eventfd, 2 maskable, 4 automasked, 8 noresize) and count by index. */
const IRQS = [
  ['INTx', 7, 1],
  ['MSI', 1, MSI_VECTORS],
  ['MSI-X', 1, MSIX_VECTORS],
  ['ERR', 1, 1],
  ['REQ', 1, 1],
] as const

describe('DEVICE_GET_IRQ_INFO', () => {
  for (const [index, [title, flags, count]] of IRQS.entries()) {
    test(`${index}: ${title}`, async () => {
      const reply = await client.request(GET_IRQ_INFO, u32(16, 0, index, 0))
      assertSuccess(reply)
      assert.equal(reply.size, 32)
      assert.deepEqual(reply.payload, u32(16, flags, index, count))
    })
  }

  test('answers 16 bytes to a longer payload and argsz', async () => {
    const reply = await client.request(GET_IRQ_INFO, u32(32, 7, 0, 7, 0, 0, 0, 0))
    assertSuccess(reply)
    assert.deepEqual(reply.payload, u32(16, 7, 0, 1))
  })

  for (const [title, payload] of [
    ['no payload', Buffer.alloc(0)],
    ['a payload of 15 bytes', u32(16, 0, 0, 0).subarray(0, 15)],
    ['argsz 15', u32(15, 0, 0, 0)],
    ['index 5 of 5', u32(16, 0, 5, 0)],
    ['index 2^32 - 1', u32(16, 0, 2 ** 32 - 1, 0)],
  ] as const) {
    test(`refuses ${title} with EINVAL, and lives`, async () => {
      assertRefused(await client.request(GET_IRQ_INFO, payload), 'EINVAL')
      await client.assertAlive()
    })
  }
})
